package dashboard_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"raytap/ray"
	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

// fake is a head for the examples, with a job that has ended.
func fake() *raytest.Head {
	h, err := raytest.Start()
	if err != nil {
		log.Fatal(err)
	}
	job := h.Submit("train-7", raytest.JobOptions{EmptyLog: true, Metadata: map[string]string{"job_name": "train"}})
	job.Print("epoch 1\nepoch 2\n")
	job.End("FAILED", 3)
	return h
}

// connect returns a client of a head.
func connect(url string) *dashboard.Client {
	t, err := transport.New(transport.Options{
		URL:    url,
		Token:  transport.EnvToken(), // from where Ray's own tools read it
		Scheme: "Bearer ",
	})
	if err != nil {
		log.Fatal(err)
	}
	c, err := dashboard.New(t, dashboard.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func ExampleClient_Job() {
	h := fake()
	defer h.Close()
	c := connect(h.URL())
	defer c.Close()

	j, err := c.Job(context.Background(), "train-7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(j.Name(), j.Status, *j.DriverExitCode)
	_, err = c.Job(context.Background(), "nobody")
	fmt.Println(ray.Code(err))
	// Output:
	// train FAILED 3
	// 404
}

// A tail ends when the job has ended and its log was read to the end.
func ExampleClient_Tail() {
	h := fake()
	defer h.Close()
	c := connect(h.URL())
	defer c.Close()

	for line, err := range c.Tail(context.Background(), "train-7", ray.DefaultTailOptions()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(line.Text)
	}
	// Output:
	// epoch 1
	// epoch 2
}

// Data that only Synapse agents report is an error of code 501.
func ExampleClient_Resources() {
	h := fake()
	defer h.Close()
	c := connect(h.URL())
	defer c.Close()

	_, err := c.Resources(context.Background())
	fmt.Println(ray.Code(err))
	// Output:
	// 501
}

// The files of a job are its driver's log and the logs of its workers.
func ExampleClient_LogFiles() {
	h := fake()
	defer h.Close()
	c := connect(h.URL())
	defer c.Close()

	list, err := c.LogFiles(context.Background(), ray.LogSelector{Jobs: []string{"train-7"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range list.Files {
		part, err := c.LogFile(context.Background(), f, 0, 0)
		if err != nil {
			log.Fatal(err)
		}
		text, err := io.ReadAll(part.Body)
		_ = part.Body.Close()
		fmt.Println(f.Source, f.Name, len(text) == int(part.Size), err)
	}
	// Output:
	// driver job-driver-train-7.log true <nil>
}
