package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

// runNull reads and discards all HTTP requests until its stdin ends. It first prints
// its URL.
func runNull() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	var taken atomic.Int64
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:errcheck // it ends with the process
		if r.URL.Path == "/bench/taken" {
			fmt.Fprint(w, taken.Load())
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		taken.Add(n)
	}))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
