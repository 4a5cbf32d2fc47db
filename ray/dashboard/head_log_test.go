package dashboard

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"raytap/ray"
	"raytap/ray/raytest"
)

// HeadLog returns what Ray logged on the head about a job that ran on another node.
func TestHeadLog(t *testing.T) {
	head := raytest.New(t)
	node, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	c := headClient(t, head.URL())
	submit := func(id string, o raytest.JobOptions, says, status string) {
		job := head.Submit(id, o)
		job.Print("of the driver\n")
		job.AppendHeadLog(says)
		if status != "" {
			job.End(status, 1)
		}
	}
	submit("lost", raytest.JobOptions{Node: node}, "Job supervisor actor died: the node was preempted", "FAILED")
	submit("runs", raytest.JobOptions{Node: node}, "anything", "")
	submit("on the head", raytest.JobOptions{}, "anything", "FAILED")
	submit("long", raytest.JobOptions{Node: node}, strings.Repeat("a line of the head\n", 900)+"the last one", "FAILED")
	want := func(id, suffix string) string {
		t.Helper()
		text, err := c.HeadLog(t.Context(), id)
		if err != nil || !strings.HasSuffix(text, suffix) || suffix == "" && text != "" {
			t.Errorf("%s: %q, %v; want %q", id, text, err, suffix)
		}
		return text
	}
	if text := want("lost", "the node was preempted"); strings.Contains(text, "of the driver") {
		t.Errorf("the log itself: %q", text)
	}
	want("runs", "")
	want("on the head", "")
	if text := want("long", "the last one"); len(text) > maxHeadLog || !strings.HasPrefix(text, "a line of the head\n") {
		t.Errorf("%d bytes that start with %.30q", len(text), text)
	}
	if _, err := c.HeadLog(t.Context(), "nobody"); ray.Code(err) != http.StatusNotFound {
		t.Errorf("an unknown id: %v", err)
	}

	// Nodes on one machine share the file.
	front, err := url.Parse(head.URL())
	if err != nil {
		t.Fatal(err)
	}
	shared := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(front)
		if q := r.Out.URL.Query(); q.Has("node_id") {
			q.Set("node_id", node.ID)
			r.Out.URL.RawQuery = q.Encode()
		}
	}})
	defer shared.Close()
	c = headClient(t, shared.URL)
	want("lost", "")
}
