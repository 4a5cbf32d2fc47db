//go:build e2e && linux

package kuberay

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	lives   = flag.Int("lives", 0, "how often to measure how long a deleted head answers")
	livesOf = flag.String("lives-of", "ray", "the Ray to measure: ray, or one of make compat, such as ray-2.53.0")
)

// How long Ray answers after its cluster was deleted, with a job that runs and with one
// that has ended. It is a measurement, for docs/kuberay.md: it bounds what can be read of
// a cluster that is being deleted.
func TestOperator_LifeOfADeletedHead(t *testing.T) {
	if *lives == 0 {
		t.Skip("measures only with -lives")
	}
	o := newOperated(t, *livesOf)
	o.Must("kubectl create namespace ray")
	for range *lives {
		o.measureLife(true)
		o.measureLife(false)
	}
}

// measureLife deletes a cluster and logs how long it answers.
func (o *operated) measureLife(running bool) {
	o.T.Helper()
	pod, url := o.createCluster("life", o.clusterSpec("{}", ""))
	until, ends := "itertools.count()", "RUNNING"
	if !running {
		until, ends = "range(30)", "SUCCEEDED"
	}
	id := submit(o.T, url, "", fmt.Sprintf(`python3 -u -c "import time,itertools
for i in %s: print('line', i, time.time()); time.sleep(0.02)"`, until))
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	o.Until(o.operator, time.Minute, "the job prints", func() bool {
		return strings.Contains(get(client, url+"/api/jobs/"+id+"/logs"), "line 20 ") && strings.Contains(get(client, url+"/api/jobs/"+id), ends)
	})
	start := time.Now()
	o.deleteObject("/apis/ray.io/v1/namespaces/ray/rayclusters/life")
	var last string
	version := pollUntilGone(start, func(c *http.Client) bool { return get(c, url+"/api/version") != "" })
	log := pollUntilGone(start, func(c *http.Client) bool {
		text := get(c, url+"/api/jobs/"+id+"/logs")
		if text != "" {
			last = text
		}
		return text != ""
	})
	agent := pollUntilGone(start, func(c *http.Client) bool {
		return get(c, strings.Replace(url, ":8265", ":52365", 1)+"/logs/job-driver-"+id+".log") != ""
	})
	o.Until(o.operator, time.Minute, "the pod is gone", func() bool {
		err := o.Get("/api/v1/namespaces/ray/pods/"+pod, nil)
		return err != nil && strings.Contains(err.Error(), "404")
	})
	gone := time.Since(start)
	v, l, a := <-version, <-log, <-agent
	var printed float64
	if all := regexp.MustCompile(`line \d+ ([\d.]+)`).FindAllStringSubmatch(last, -1); len(all) > 0 {
		printed, _ = strconv.ParseFloat(all[len(all)-1][1], 64)
		printed -= float64(start.UnixMicro()) / 1e6
	}
	o.T.Logf("job %s: after the delete request, the version was last answered at %.2f s, the log by the dashboard at %.2f s with a line of %.2f s, the log by the agent at %.2f s; the pod was gone at %.2f s",
		ends, v.Seconds(), l.Seconds(), printed, a.Seconds(), gone.Seconds())
}

// pollUntilGone asks every 10 ms until nothing has answered for 5 s. It sends when the
// last answer came.
func pollUntilGone(start time.Time, ask func(*http.Client) bool) <-chan time.Duration {
	out := make(chan time.Duration, 1)
	go func() {
		client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		var last time.Duration
		for time.Since(start)-last < 5*time.Second {
			if ask(client) {
				last = time.Since(start)
			}
			time.Sleep(10 * time.Millisecond)
		}
		out <- last
	}()
	return out
}

// submit submits a job through the API of the dashboard and returns its id.
func submit(t testing.TB, url, token, entrypoint string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"entrypoint": entrypoint})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, url+"/api/jobs/", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct {
		ID string `json:"submission_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || out.ID == "" {
		t.Fatalf("submit a job: %s: %v", res.Status, err)
	}
	return out.ID
}

func get(client *http.Client, url string) string {
	res, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}
