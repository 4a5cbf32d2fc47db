package kuberay

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"raytap/config"
	"raytap/discovery"
	"raytap/secret"
)

// Lookup returns one RayCluster as it is now, for a command: it requests the RayCluster,
// its pods and its token from the API server, and watches nothing. The facts of what it
// returns do not change. An error says why the cluster cannot be queried.
func Lookup(ctx context.Context, cfg config.Config, namespace, name, userAgent string) (discovery.Cluster, error) {
	s, err := New(cfg, Options{UserAgent: userAgent, Log: logrus.New()})
	if err != nil {
		return discovery.Cluster{}, err
	}
	defer s.client.close()
	found := "RayCluster " + namespace + "/" + name
	var object rayCluster
	r := s.client.rayClusters()
	if err := r.request(namespace, metav1.ListOptions{}).Name(name).Do(ctx).Into(&object); err != nil {
		if apierrors.IsNotFound(err) {
			return discovery.Cluster{}, fmt.Errorf("there is no %s in Kubernetes", found)
		}
		return discovery.Cluster{}, fmt.Errorf("get %s: %w", found, err)
	}
	c := factsOfCluster(&object)
	rule := ruleFor(s.rules, c)
	if rule == nil {
		return discovery.Cluster{}, fmt.Errorf("no rule of kubernetes selects %s", found)
	}
	pods, err := s.podsOf(ctx, c)
	if err != nil {
		return discovery.Cluster{}, err
	}
	e := s.newEntry(c, rule)
	e.token, e.facts.Token = nil, nil
	state, _ := s.stateOf(e, snapshot{c, pods}, time.Now())
	if state.Address == "" {
		return discovery.Cluster{}, fmt.Errorf("%s cannot be queried: %s", found, state.Why)
	}
	if key := tokenKey(rule.Auth, c, headOf(pods)); key != (secretKey{}) {
		text, err := s.client.secretValue(ctx, namespace, key)
		if err != nil {
			return discovery.Cluster{}, err
		}
		e.facts.Token = fixedToken(text)
	}
	e.facts.Set(state)
	return e.cluster, nil
}

// podsOf returns the pods of a cluster, from the API server.
func (s *Source) podsOf(ctx context.Context, c *clusterFacts) (map[string]*podFacts, error) {
	list, err := s.client.pods().listObjects(ctx, c.namespace, metav1.ListOptions{LabelSelector: "ray.io/cluster=" + c.name})
	if err != nil {
		return nil, fmt.Errorf("list the pods of RayCluster %s: %w", c.fullName(), err)
	}
	out := map[string]*podFacts{}
	items := list.(*podList).Items
	for i := range items {
		if p := factsOfPod(&items[i]); p.owner == c.uid {
			out[p.uid] = p
		}
	}
	return out, nil
}

// fixedToken returns a source of one token.
func fixedToken(text string) *token {
	value := secret.Text(text)
	return &token{wake: func() {}, accepted: &value}
}
