package daemon

import (
	"strings"
	"testing"
	"time"

	"raytap/config"
	"raytap/ray/synapsetest"
)

// All data of a Synapse agent is exposed.
func TestDaemon_Synapse(t *testing.T) {
	a := synapsetest.New(t, synapsetest.Prefix("/agents/a1"), synapsetest.Token("a token of the lab"), synapsetest.InvalidRows())
	a.Submit("job-1", synapsetest.JobOptions{})
	c := configure(t, nil)
	c.Clusters = append(c.Clusters, config.Cluster{
		Name: "lab", API: config.APISynapse, URL: config.URL(a.URL()), Auth: config.Auth{Token: "a token of the lab"},
		Timeout: config.Duration(2 * time.Second), MaxConcurrent: 8, MaxBody: 1 << 20,
	})
	c.Shipper.Enabled = false
	h := open(t, c, nil)
	var page string
	h.until("the agent's cluster is up", func() bool {
		_, page = h.get("/metrics")
		return strings.Contains(page, `raytap_up{ray_cluster="lab"} 1`)
	})
	for _, want := range []string{
		`raytap_job_status{ray_cluster="lab",status="RUNNING",submission_id="job-1"} 1`,
		`raytap_nodes{ray_cluster="lab",state="ALIVE"}`,
		`raytap_tasks_by_state{ray_cluster="lab",`,
		`raytap_serve_application_status{`,
		`raytap_hardware_cpu`, `raytap_hardware_memory`, `raytap_hardware_gpu`,
		`raytap_skipped_rows_total{`,
	} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "raytap_collector_success{") && !strings.HasSuffix(line, " 1\n") {
			t.Errorf("a collector failed: %s", line)
		}
	}
	if strings.Contains(page, "a token of the lab") {
		t.Error("/metrics has the token")
	}
}
