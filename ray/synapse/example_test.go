package synapse_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"raytap/ray"
	"raytap/ray/synapse"
	"raytap/ray/synapsetest"
	"raytap/ray/transport"
)

// fake is an agent for the examples: a job that has ended, and one that runs.
func fake() *synapsetest.Agent {
	a, err := synapsetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	job := a.Submit("train-7", synapsetest.JobOptions{Metadata: map[string]string{"job_name": "train"}})
	job.Print("epoch 1\nepoch 2\n")
	job.End("SUCCEEDED", 0)
	a.Submit("serve-2", synapsetest.JobOptions{})
	return a
}

// connect returns a client of an agent.
func connect(url string) *synapse.Client {
	t, err := synapse.NewTransport(transport.Options{
		URL:   url,
		Token: transport.StaticToken("the agent's token"), // or transport.FileToken, read again when it changes
	}, synapse.Credentials{})
	if err != nil {
		log.Fatal(err)
	}
	c, err := synapse.New(t, synapse.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func ExampleClient_Jobs() {
	a := fake()
	defer a.Close()
	c := connect(a.URL())
	defer c.Close()

	jobs, err := c.Jobs(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, j := range jobs {
		fmt.Println(j.SubmissionID, j.Status, j.Name())
	}
	// Output:
	// train-7 SUCCEEDED train
	// serve-2 RUNNING
}

// A tail ends when the job has ended and its log was read to the end.
func ExampleClient_Tail() {
	a := fake()
	defer a.Close()
	c := connect(a.URL())
	defer c.Close()

	o := ray.DefaultTailOptions() // auto, 30 s, and the limits of the published client
	o.Limits.MaxLines = 0         // no limit
	for line, err := range c.Tail(context.Background(), "train-7", o) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(line.Text)
	}
	// Output:
	// epoch 1
	// epoch 2
}

// Over a limit a tail ends with code 429, after the lines within the limit.
func ExampleClient_Tail_limits() {
	a := fake()
	defer a.Close()
	c := connect(a.URL())
	defer c.Close()

	o := ray.TailOptions{Protocol: ray.TailHTTP, Timeout: time.Minute, Limits: ray.StreamLimits{MaxLines: 1}}
	for line, err := range c.Tail(context.Background(), "train-7", o) {
		if err != nil {
			fmt.Println("code", ray.Code(err))
			break
		}
		fmt.Println(line.Text)
	}
	// Output:
	// epoch 1
	// code 429
}

func ExampleClient_JobLogs() {
	a := fake()
	defer a.Close()
	c := connect(a.URL())
	defer c.Close()

	body, err := c.JobLogs(context.Background(), "train-7")
	if err != nil {
		log.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(os.Stdout, body); err != nil {
		log.Fatal(err)
	}
	// Output:
	// epoch 1
	// epoch 2
}

func ExampleClient_StopJob() {
	a := fake()
	defer a.Close()
	c := connect(a.URL())
	defer c.Close()

	for _, id := range []string{"serve-2", "train-7", "nobody"} {
		fmt.Println(id, ray.Code(c.StopJob(context.Background(), id)))
	}
	// Output:
	// serve-2 0
	// train-7 400
	// nobody 404
}

func ExampleClient_Resources() {
	a := fake()
	defer a.Close()
	c := connect(a.URL())
	defer c.Close()

	r, err := c.Resources(context.Background())
	if err != nil {
		log.Fatal(err) // code 501: the agent is too old to report it
	}
	fmt.Printf("%g of %g cores in use, %d jobs run\n", r.CPU.Used, r.CPU.Total, *r.RunningJobs)
	// Output:
	// 3 of 8 cores in use, 1 jobs run
}
