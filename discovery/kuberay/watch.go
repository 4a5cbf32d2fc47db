package kuberay

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"raytap/logthrottle"
)

// The pause after a list or a watch that failed. Jitter makes it up to twice as long.
var retryBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 1, Cap: 30 * time.Second, Steps: 10}

// watched is one resource in one namespace (or in all) that is listed once and then
// watched. client-go's Reflector does that: it streams the first list where the API
// server can, else lists in pages, continues a watch that was cut, and lists again
// only where the API server has forgotten what changed (410 Gone).
type watched struct {
	resource  resource
	namespace string
	replace   func(list []any)
	put       func(object any)
	remove    func(object any)
	done      func() // called after a complete list
	health    logthrottle.Condition
	log       logrus.FieldLogger

	mu      sync.Mutex
	contact time.Time // when the API server last answered or sent something; zero: never
	listed  bool      // a complete list was received
	err     error     // of the last request; nil: it succeeded
	absent  bool      // the API server has no such resource
}

// run watches until ctx ends.
func (w *watched) run(ctx context.Context, retry wait.Backoff) {
	source := &cache.ListWatch{ListWithContextFunc: w.list, WatchFuncWithContext: w.watch}
	cache.NewReflectorWithOptions(source, w.resource.object, w, cache.ReflectorOptions{
		Name: w.resource.name, Backoff: &retry,
	}).RunWithContext(ctx)
}

// status returns when the API server last answered, whether a complete list was
// received, and the error of the last request.
func (w *watched) status() (contact time.Time, listed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.contact, w.listed, w.err
}

// list returns one page of the list.
func (w *watched) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	list, err := w.resource.listObjects(ctx, w.namespace, o)
	w.record(ctx, err)
	return list, err
}

// watch opens a watch.
func (w *watched) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	events, err := w.resource.watch(ctx, w.namespace, o)
	w.record(ctx, err)
	if err != nil {
		if o.SendInitialEvents != nil && (utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)) {
			// The Reflector would wait without looking at ctx (client-go 0.37); so it
			// tries a list, and then waits with ctx.
			return nil, errors.New(err.Error())
		}
		return nil, err
	}
	return events, nil
}

// record notes the result of a request.
func (w *watched) record(ctx context.Context, err error) {
	var status apierrors.APIStatus
	code := int32(0)
	if errors.As(err, &status) {
		code = status.Status().Code
	}
	if ctx.Err() != nil || code == http.StatusGone {
		return // the Reflector lists again
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	wasAbsent := w.absent
	w.absent = code == http.StatusNotFound
	switch {
	case err == nil:
		w.contact = time.Now()
		w.health.Recovered("The API server answers again")
		if wasAbsent {
			w.log.Info("The API server has the resource now")
		}
	case w.absent && !wasAbsent:
		w.log.WithError(err).Warn("The API server does not have the resource, raytap looks again until KubeRay is installed")
	case !w.absent:
		w.health.Failed("The API server does not list this resource, what is known of it stays", err)
	}
}

// answered notes that the API server sent something.
func (w *watched) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.contact = time.Now()
}

// Bookmark notes that nothing has changed: the API server sends bookmarks about once a
// minute.
func (w *watched) Bookmark(string) error {
	w.answered()
	return nil
}

// Add is Update.
func (w *watched) Add(object any) error { return w.Update(object) }

// Update stores an object.
func (w *watched) Update(object any) error {
	w.answered()
	w.put(object)
	return nil
}

// Delete removes an object.
func (w *watched) Delete(object any) error {
	w.answered()
	w.remove(object)
	return nil
}

// Replace stores a complete list, and removes what is not in it.
func (w *watched) Replace(list []any, _ string) error {
	w.replace(list)
	w.mu.Lock()
	w.contact, w.listed = time.Now(), true
	w.mu.Unlock()
	w.done()
	return nil
}

// Resync does nothing: nothing can be lost between a watch and the store.
func (w *watched) Resync() error { return nil }

// watchClusters returns what keeps the clusters of a namespace up to date.
func (s *Source) watchClusters(namespace string) *watched {
	w := s.watched(s.client.rayClusters(), namespace)
	w.put = func(o any) { s.store.putCluster(factsOfCluster(o.(*rayCluster))) }
	w.remove = func(o any) { s.store.removeCluster(o.(*rayCluster).Meta.UID) }
	w.replace = func(list []any) {
		all := make([]*clusterFacts, len(list))
		uids := make([]string, len(list))
		for i, o := range list {
			all[i] = factsOfCluster(o.(*rayCluster))
			uids[i] = all[i].uid
		}
		s.firstSeen.listed(namespace, uids)
		s.store.replaceClusters(namespace, all)
	}
	return w
}

// watchPods returns what keeps the pods of a namespace up to date.
func (s *Source) watchPods(namespace string) *watched {
	w := s.watched(s.client.pods(), namespace)
	w.put = func(o any) { s.store.putPod(factsOfPod(o.(*pod))) }
	w.remove = func(o any) { s.store.removePod(o.(*pod).Meta.UID) }
	w.replace = func(list []any) {
		all := make([]*podFacts, len(list))
		for i, o := range list {
			all[i] = factsOfPod(o.(*pod))
		}
		s.store.replacePods(namespace, all)
	}
	return w
}

func (s *Source) watched(r resource, namespace string) *watched {
	log := s.log.WithFields(logrus.Fields{"resource": r.name, "namespace": namespace})
	return &watched{resource: r, namespace: namespace, done: s.store.wake, log: log, health: logthrottle.Condition{Log: log}}
}
