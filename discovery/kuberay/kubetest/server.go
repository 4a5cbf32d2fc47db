// Package kubetest has a fake API server of Kubernetes for tests, with the parts that
// discovery uses: lists, watches that can be cut or forgotten, and Secrets.
package kubetest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
)

// Token is what the kubeconfig of a Server authenticates with.
const Token = "the-own-token-of-raytap" //nolint:gosec // of a test

// Resources of the API, as in its paths.
const (
	RayClusters = "rayclusters"
	Pods        = "pods"
	Secrets     = "secrets"
)

// Object is an object as in JSON.
type Object = map[string]any

// Server is a fake API server. Its methods are safe for concurrent use.
type Server struct {
	URL        string
	Kubeconfig string // a file

	mu       sync.Mutex
	version  int
	oldest   int // a watch from before it gets 410
	objects  map[string]map[string]Object
	events   []event
	more     chan struct{} // closed at the next event
	cut      chan struct{} // closed to end all watches
	refusals map[string]int
	noStream bool
	requests []string
}

type event struct {
	version  int
	resource string
	kind     string // ADDED, MODIFIED or DELETED
	object   Object
}

// New starts a server, which ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		version: 100, objects: map[string]map[string]Object{RayClusters: {}, Pods: {}, Secrets: {}},
		more: make(chan struct{}), cut: make(chan struct{}), refusals: map[string]int{},
	}
	h := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	h.EnableHTTP2 = true
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(func() {
		s.CutWatches()
		h.CloseClientConnections()
		h.Close()
	})
	s.URL = h.URL
	s.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "x",
"clusters": [{"name": "x", "cluster": {"server": %q, "certificate-authority-data": %q}}], "users": [{"name": "x", "user": {"token": %q}}],
"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "ray"}}]}`, s.URL, base64.StdEncoding.EncodeToString(ca), Token)
	if err := os.WriteFile(s.Kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Put adds an object or changes it, also into one with another uid. The watches get
// one event.
func (s *Server) Put(resource string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	meta := o["metadata"].(Object)
	key := fmt.Sprintf("%v/%v", meta["namespace"], meta["name"])
	kind := "ADDED"
	if s.objects[resource][key] != nil {
		kind = "MODIFIED"
	}
	s.add(event{resource: resource, kind: kind, object: o})
	s.objects[resource][key] = o
}

// Delete removes an object, if there is one.
func (s *Server) Delete(resource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := namespace + "/" + name
	if o := s.objects[resource][key]; o != nil {
		delete(s.objects[resource], key)
		s.add(event{resource: resource, kind: "DELETED", object: maps.Clone(o)})
	}
}

// Bookmark sends a bookmark to all watches.
func (s *Server) Bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(event{kind: "BOOKMARK", object: Object{"metadata": Object{}}})
}

// add appends an event. The caller holds mu.
func (s *Server) add(e event) {
	s.version++
	e.version = s.version
	meta := maps.Clone(e.object["metadata"].(Object))
	meta["resourceVersion"] = strconv.Itoa(s.version)
	e.object["metadata"] = meta
	s.events = append(s.events, e)
	close(s.more)
	s.more = make(chan struct{})
}

// CutWatches ends all watches. Clients continue where they were.
func (s *Server) CutWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// Compact forgets all events: a watch that continues from before gets 410 Gone.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.oldest, s.events = s.version, nil
}

// Refuse lets all requests for a resource fail with an HTTP status, and cuts its
// watches; 0 ends that.
func (s *Server) Refuse(resource string, status int) {
	s.mu.Lock()
	s.refusals[resource] = status
	s.mu.Unlock()
	s.CutWatches()
}

// NoStream refuses to send the first list as events of a watch, as Kubernetes before
// 1.32 does.
func (s *Server) NoStream() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noStream = true
}

// Requests returns the paths and queries of all requests so far that contain a text.
func (s *Server) Requests(part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.requests), func(r string) bool { return !strings.Contains(r, part) })
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.URL.RequestURI())
	s.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+Token || r.Method != http.MethodGet {
		status(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	group, path, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/apis/ray.io/"), "/api/"), "/")
	parts := strings.Split(path, "/")
	q := query{resource: parts[0], name: ""}
	if parts[0] == "namespaces" && len(parts) > 2 {
		q.namespace, q.resource = parts[1], parts[2]
		if len(parts) > 3 {
			q.name = parts[3]
		}
	}
	s.mu.Lock()
	refused := s.refusals[q.resource]
	if s.objects[q.resource] == nil || group != "v1" {
		refused = http.StatusNotFound
	}
	s.mu.Unlock()
	var err error
	if q.selector, err = labels.Parse(r.FormValue("labelSelector")); err != nil {
		refused = http.StatusBadRequest
	}
	switch {
	case refused != 0:
		status(w, refused, map[int]string{403: "Forbidden", 404: "NotFound"}[refused])
	case r.FormValue("watch") != "":
		s.watch(w, r, q)
	case q.name != "":
		s.get(w, q)
	default:
		s.list(w, q)
	}
}

// query selects objects.
type query struct {
	resource, namespace, name string
	selector                  labels.Selector
}

func (q query) matches(o Object) bool {
	meta := o["metadata"].(Object)
	set := labels.Set{}
	if m, ok := meta["labels"].(Object); ok {
		for k, v := range m {
			set[k] = fmt.Sprint(v)
		}
	}
	return (q.namespace == "" || q.namespace == meta["namespace"]) && (q.name == "" || q.name == meta["name"]) && q.selector.Matches(set)
}

func (s *Server) matching(q query) []Object {
	var out []Object
	for _, key := range slices.Sorted(maps.Keys(s.objects[q.resource])) {
		if o := s.objects[q.resource][key]; q.matches(o) {
			out = append(out, o)
		}
	}
	return out
}

func (s *Server) get(w http.ResponseWriter, q query) {
	s.mu.Lock()
	found := s.matching(q)
	s.mu.Unlock()
	if len(found) == 0 {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	reply(w, found[0])
}

func (s *Server) list(w http.ResponseWriter, q query) {
	s.mu.Lock()
	items, version := s.matching(q), s.version
	s.mu.Unlock()
	kind := map[string]string{RayClusters: "RayClusterList", Pods: "PodList"}[q.resource]
	reply(w, Object{
		"kind": kind, "apiVersion": apiVersion(q.resource), "metadata": Object{"resourceVersion": strconv.Itoa(version)},
		"items": append([]Object{}, items...),
	})
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, q query) {
	from, _ := strconv.Atoi(r.FormValue("resourceVersion"))
	s.mu.Lock()
	stream := r.FormValue("sendInitialEvents") == "true"
	refused, oldest, cut := stream && s.noStream, s.oldest, s.cut
	s.mu.Unlock()
	if refused {
		status(w, http.StatusUnprocessableEntity, "Invalid")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	send := func(kind string, o Object) {
		_ = json.NewEncoder(w).Encode(Object{"type": kind, "object": o})
		w.(http.Flusher).Flush()
	}
	switch {
	case stream:
		s.mu.Lock()
		items := s.matching(q)
		from = s.version
		s.mu.Unlock()
		for _, o := range items {
			send("ADDED", o)
		}
		send("BOOKMARK", bookmark(q.resource, from, Object{"k8s.io/initial-events-end": "true"}))
	case from > 0 && from < oldest:
		send("ERROR", Object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": http.StatusGone})
		return
	default:
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
	}
	for {
		s.mu.Lock()
		events, more := slices.Clone(s.events), s.more
		s.mu.Unlock()
		for _, e := range events {
			switch {
			case e.version <= from:
			case e.kind == "BOOKMARK":
				send(e.kind, bookmark(q.resource, e.version, nil))
			case e.resource == q.resource && q.matches(e.object):
				send(e.kind, e.object)
			}
			from = max(from, e.version)
		}
		select {
		case <-more:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func bookmark(resource string, version int, annotations Object) Object {
	meta := Object{"resourceVersion": strconv.Itoa(version), "creationTimestamp": nil}
	if annotations != nil {
		meta["annotations"] = annotations
	}
	return Object{
		"kind": map[string]string{RayClusters: "RayCluster", Pods: "Pod"}[resource], "apiVersion": apiVersion(resource), "metadata": meta,
	}
}

func apiVersion(resource string) string {
	if resource == RayClusters {
		return "ray.io/v1"
	}
	return "v1"
}

func status(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Object{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": strings.ToLower(reason),
	})
}

func reply(w http.ResponseWriter, o Object) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o)
}

// PutSecret adds a Secret with one key or changes it.
func (s *Server) PutSecret(namespace, name, key, value string) {
	s.Put(Secrets, Object{
		"kind": "Secret", "apiVersion": "v1", "metadata": Object{"namespace": namespace, "name": name},
		"data": Object{key: base64.StdEncoding.EncodeToString([]byte(value))},
	})
}
