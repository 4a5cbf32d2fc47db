package config

import (
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"strings"
)

// Ray's default ports (Ray 2.60).
const (
	gcsPort       = "6379"
	dashboardPort = "8265"
	localRay      = "http://127.0.0.1:" + dashboardPort
)

// rayDashboard returns the dashboard of the cluster that RAY_ADDRESS names, and
// a note if the address was derived; "" is none.
//
// Ray's own tools (get_address_for_submission_client, Ray 2.60) use http and
// https addresses unchanged. At host:port they query Ray's GCS for the dashboard,
// at ray://host:port a Ray client server; for auto and local they look for a Ray
// on this machine. raytap has neither protocol: it derives the dashboard if both
// ports are Ray's defaults, and refuses other addresses.
func rayDashboard(address string) (dashboard, note string, err error) {
	switch {
	case address == "":
		return localRay, "", nil
	case address == "auto" || address == "local":
		return localRay, "RAY_ADDRESS is " + address + ": using " + localRay + ", the dashboard's default address on this machine", nil
	case isHTTP(address):
		return address, "", nil
	}
	const instead = "set RAY_API_SERVER_ADDRESS to the address of the dashboard, such as http://ray-head:8265, or use --url, or clusters in --config.file"
	if strings.Contains(address, "://") {
		scheme, _, _ := strings.Cut(address, "://")
		if scheme == "ray" {
			return "", "", errors.New("is the address of a Ray client server, not of a dashboard; " + instead)
		}
		return "", "", errors.New("is not an address that raytap supports; " + instead)
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || host == "" || strings.ContainsAny(host, "/@?# "):
		return "", "", errors.New("is not an address that raytap supports; " + instead)
	case port == dashboardPort:
		dashboard = "http://" + net.JoinHostPort(host, port)
		return dashboard, "RAY_ADDRESS has no http:// prefix: using " + dashboard, nil
	case port == gcsPort:
		dashboard = "http://" + net.JoinHostPort(host, dashboardPort)
		return dashboard, "RAY_ADDRESS is the address of a GCS: using " + dashboard + ", the default address of its dashboard; if it is another, set RAY_API_SERVER_ADDRESS", nil
	}
	return "", "", errors.New("is the address of a GCS at a non-default port, so that the port of its dashboard is unknown; " + instead)
}

// jobHeaders parses RAY_JOB_HEADERS as Ray's job commands do: a JSON object of
// strings. Errors contain nothing of it: values are secrets.
func jobHeaders(text string) (map[string]Secret, error) {
	if text == "" {
		return nil, nil
	}
	var headers map[string]*string
	if err := json.Unmarshal([]byte(text), &headers); err != nil {
		return nil, errors.New(`must be a JSON object of strings, such as {"Name": "value"}`)
	}
	out := make(map[string]Secret, len(headers))
	for name, value := range headers {
		if value == nil {
			return nil, errors.New(`must be a JSON object of strings, such as {"Name": "value"}`)
		}
		out[name] = Secret(*value)
	}
	return out, nil
}

// setHeaders sets the headers of a cluster from the environment. As with Ray's
// own tools, an Authorization header replaces the token.
func (c *Cluster) setHeaders(headers map[string]Secret) {
	c.Headers = headers
	for name := range headers {
		if strings.EqualFold(name, "authorization") {
			c.Auth = Auth{}
		}
	}
}

func isHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}
