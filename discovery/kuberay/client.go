package kuberay

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"

	"raytap/config"
)

// Limits of the requests to the API server, per second. client-go's default of 5
// would take 100 s for the Secrets of 500 clusters.
const (
	requestRate  = 50
	requestBurst = 100
)

// namespaceFile has the namespace of the pod that a process runs in.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// rayPods selects the pods that KubeRay made.
const rayPods = "ray.io/is-ray-node=yes"

// client reads RayClusters, pods and Secrets. It is the only part of raytap that has
// the credentials for the API server.
type client struct {
	namespace string // that raytap runs in, or of the kubeconfig's context
	core, ray *rest.RESTClient
	close     func()
}

// quiet silences client-go, which logs to stderr in a format of its own. What fails is an
// error, too.
var quiet = sync.OnceFunc(func() { klog.SetLogger(logr.Discard()) })

// newClient returns a client of the API server that kubeconfig names, "" for that of
// the pod. It does not connect.
func newClient(kubeconfig, userAgent string) (*client, error) {
	quiet()
	cfg, namespace, err := connection(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = userAgent
	cfg.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(requestRate, requestBurst)
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	cfg.NegotiatedSerializer = codecs().WithoutConversion()
	cfg.ContentType = runtime.ContentTypeJSON
	shared, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	c := &client{namespace: namespace, close: shared.CloseIdleConnections}
	if c.core, err = restClient(cfg, shared, "/api", coreGroup); err != nil {
		return nil, err
	}
	c.ray, err = restClient(cfg, shared, "/apis", rayGroup)
	return c, err
}

func restClient(cfg *rest.Config, shared *http.Client, path string, group schema.GroupVersion) (*rest.RESTClient, error) {
	c := rest.CopyConfig(cfg)
	c.APIPath, c.GroupVersion = path, &group
	out, err := rest.RESTClientForConfigAndClient(c, shared)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return out, nil
}

// connection returns how to connect to the API server, and the namespace to use where
// none is configured.
func connection(kubeconfig string) (*rest.Config, string, error) {
	if kubeconfig != "" {
		loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, &clientcmd.ConfigOverrides{})
		cfg, err := loaded.ClientConfig()
		if err != nil {
			return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
		}
		namespace, _, err := loaded.Namespace()
		if err != nil {
			return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
		}
		return cfg, namespace, nil
	}
	cfg, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, "", errors.New("raytap does not run in a pod of Kubernetes: set kubernetes.kubeconfig")
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the ServiceAccount of the pod, which needs automountServiceAccountToken: %w", err)
	}
	text, err := os.ReadFile(namespaceFile)
	if err != nil {
		return nil, "", fmt.Errorf("read the namespace of the pod: %w", err)
	}
	return cfg, strings.TrimSpace(string(text)), nil
}

// resource is a kind of object that is listed and watched.
type resource struct {
	name     string // as in a URL
	rest     *rest.RESTClient
	selector string
	object   runtime.Object
	list     func() runtime.Object
}

func (c *client) rayClusters() resource {
	return resource{name: "rayclusters", rest: c.ray, object: &rayCluster{}, list: func() runtime.Object { return &rayClusterList{} }}
}

func (c *client) pods() resource {
	return resource{name: "pods", rest: c.core, selector: rayPods, object: &pod{}, list: func() runtime.Object { return &podList{} }}
}

// request returns a request for the objects of a namespace; allNamespaces is all.
func (r resource) request(namespace string, o metav1.ListOptions) *rest.Request {
	o.LabelSelector = cmp.Or(o.LabelSelector, r.selector)
	q := r.rest.Get().Resource(r.name).VersionedParams(&o, metav1.ParameterCodec)
	if namespace != config.AllNamespaces {
		q = q.Namespace(namespace)
	}
	return q
}

func (r resource) listObjects(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
	out := r.list()
	return out, r.request(namespace, o).Do(ctx).Into(out)
}

func (r resource) watch(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	return r.request(namespace, o).Watch(ctx)
}

// secretValue returns the value of one key of a Secret.
func (c *client) secretValue(ctx context.Context, namespace string, from secretKey) (string, error) {
	var out secretObject
	if err := c.core.Get().Namespace(namespace).Resource("secrets").Name(from.Name).Do(ctx).Into(&out); err != nil {
		return "", fmt.Errorf("read the Secret %s/%s: %w", namespace, from.Name, err)
	}
	encoded, ok := out.Data[from.Key]
	if !ok {
		return "", fmt.Errorf("the Secret %s/%s has no key %q", namespace, from.Name, from.Key)
	}
	value, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil {
		return "", fmt.Errorf("the key %q of the Secret %s/%s is not base64", from.Key, namespace, from.Name)
	}
	token := strings.TrimSpace(string(value))
	if token == "" {
		return "", fmt.Errorf("the key %q of the Secret %s/%s is empty", from.Key, namespace, from.Name)
	}
	return token, nil
}
