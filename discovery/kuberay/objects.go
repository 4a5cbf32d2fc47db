package kuberay

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"

	"raytap/secret"
)

// The objects as the API server sends them, with the fields that are used and no
// others: whole pods are tens of times as large. A copy is shallow, which is enough
// because an object is not changed after it was decoded.

// objectMeta is the metadata of an object.
type objectMeta struct {
	Name            string            `json:"name"`
	Namespace       string            `json:"namespace"`
	UID             string            `json:"uid"`
	ResourceVersion string            `json:"resourceVersion"`
	Created         metav1.Time       `json:"creationTimestamp"`
	Deleted         *metav1.Time      `json:"deletionTimestamp"`
	Labels          map[string]string `json:"labels"`
	Owners          []ownerReference  `json:"ownerReferences"`
	// Of the annotations only the one that ends the first events of a watch: others
	// can have 256 KiB.
	Annotations struct {
		InitialEventsEnd string `json:"k8s.io/initial-events-end"`
	} `json:"annotations"`
}

type ownerReference struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller"`
}

// GetObjectMeta returns what client-go's Reflector asks for.
func (m *objectMeta) GetObjectMeta() metav1.Object {
	out := &metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: types.UID(m.UID), ResourceVersion: m.ResourceVersion}
	if end := m.Annotations.InitialEventsEnd; end != "" {
		out.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: end}
	}
	return out
}

// controller returns the reference to the object that m's object belongs to.
func (m *objectMeta) controller() ownerReference {
	for _, o := range m.Owners {
		if o.Controller {
			return o
		}
	}
	return ownerReference{}
}

// rayCluster is a RayCluster of ray.io/v1 (KubeRay 1.0 and later).
type rayCluster struct {
	metav1.TypeMeta
	Meta objectMeta `json:"metadata"`
	Spec struct {
		Suspend   bool   `json:"suspend"`
		ManagedBy string `json:"managedBy"`
		Auth      *struct {
			Mode       string `json:"mode"`
			SecretName string `json:"secretName"`
		} `json:"authOptions"`
		Head struct {
			StartParams map[string]string `json:"rayStartParams"`
		} `json:"headGroupSpec"`
	} `json:"spec"`
	Status struct {
		State      string             `json:"state"`
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

func (c *rayCluster) GetObjectMeta() metav1.Object { return c.Meta.GetObjectMeta() }

// DeepCopyObject returns a shallow copy.
func (c *rayCluster) DeepCopyObject() runtime.Object { out := *c; return &out }

type rayClusterList struct {
	metav1.TypeMeta
	metav1.ListMeta `json:"metadata"`
	Items           []rayCluster `json:"items"`
}

// DeepCopyObject returns a shallow copy.
func (l *rayClusterList) DeepCopyObject() runtime.Object { out := *l; return &out }

// pod is a Pod of v1.
type pod struct {
	metav1.TypeMeta
	Meta objectMeta `json:"metadata"`
	Spec struct {
		HostNetwork bool        `json:"hostNetwork"`
		Containers  []container `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
		IPs   []struct {
			IP string `json:"ip"`
		} `json:"podIPs"`
		Containers []containerStatus `json:"containerStatuses"`
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

type container struct {
	Name  string `json:"name"`
	Ports []struct {
		Name string `json:"name"`
		Port int    `json:"containerPort"`
	} `json:"ports"`
	Env []struct {
		Name string `json:"name"`
		From struct {
			Secret *secretKey `json:"secretKeyRef"`
		} `json:"valueFrom"`
	} `json:"env"`
}

type containerStatus struct {
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	Restarts int    `json:"restartCount"`
	State    struct {
		Running *struct{} `json:"running"`
		Waiting *struct {
			Reason string `json:"reason"`
		} `json:"waiting"`
	} `json:"state"`
}

// secretKey names a key of a Secret in the namespace of its user.
type secretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

func (p *pod) GetObjectMeta() metav1.Object { return p.Meta.GetObjectMeta() }

// DeepCopyObject returns a shallow copy.
func (p *pod) DeepCopyObject() runtime.Object { out := *p; return &out }

type podList struct {
	metav1.TypeMeta
	metav1.ListMeta `json:"metadata"`
	Items           []pod `json:"items"`
}

// DeepCopyObject returns a shallow copy.
func (l *podList) DeepCopyObject() runtime.Object { out := *l; return &out }

// secretObject is a Secret of v1. Its values do not print.
type secretObject struct {
	metav1.TypeMeta
	Data map[string]secretBytes `json:"data"`
}

// secretBytes is a value of a Secret, in base64 as it was sent.
type secretBytes = secret.Text

// DeepCopyObject returns a shallow copy.
func (s *secretObject) DeepCopyObject() runtime.Object { out := *s; return &out }

// The groups of the API that are read.
var (
	rayGroup  = schema.GroupVersion{Group: "ray.io", Version: "v1"}
	coreGroup = schema.GroupVersion{Version: "v1"}
)

// codecs decodes the objects above.
func codecs() serializer.CodecFactory {
	s := runtime.NewScheme()
	s.AddKnownTypeWithName(rayGroup.WithKind("RayCluster"), &rayCluster{})
	s.AddKnownTypeWithName(rayGroup.WithKind("RayClusterList"), &rayClusterList{})
	s.AddKnownTypeWithName(coreGroup.WithKind("Pod"), &pod{})
	s.AddKnownTypeWithName(coreGroup.WithKind("PodList"), &podList{})
	s.AddKnownTypeWithName(coreGroup.WithKind("Secret"), &secretObject{})
	metav1.AddToGroupVersion(s, rayGroup)
	metav1.AddToGroupVersion(s, coreGroup)
	return serializer.NewCodecFactory(s)
}
