package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// maxRows is the maximum number of rows of the State API: a higher limit is refused
// (400; 500 before Ray 2.60), and sources are truncated there silently.
const maxRows = 10000

// listCounts are the counts of a State API list.
type listCounts struct {
	total           int // at the source: all rows for actors and nodes, those that match the filter for tasks
	afterTruncation int // num_after_truncation: less than total if the source truncated the list
	matched         int // num_filtered: rows that match, before limit
	received        int // rows in the response
	skipped         int
}

// truncated reports whether the list lacks rows of its source.
func (l listCounts) truncated() bool {
	return l.total > l.afterTruncation || l.matched > l.received+l.skipped
}

// filter is one condition of a list.
type filter struct{ key, predicate, value string }

func listQuery(limit int, filters ...filter) url.Values {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for _, f := range filters {
		q.Add("filter_keys", f.key)
		q.Add("filter_predicates", f.predicate)
		q.Add("filter_values", f.value)
	}
	return q
}

// stateRows requests a State API list and passes its rows to use one by one; rows
// that use rejects are skipped.
func stateRows[T any](ctx context.Context, c *Client, op, resource string, q url.Values, use func(T) bool) (listCounts, error) {
	var counts listCounts
	err := c.stateGet(ctx, op, resource, q, &counts, func(d *pyjson.Decoder) (err error) {
		counts.skipped, err = eachRow(d, func(row T) bool {
			ok := use(row)
			if ok {
				counts.received++
			}
			return ok
		})
		return err
	})
	return counts, err
}

// countOnly accepts every row, for a list that is only counted.
func countOnly(struct{}) bool { return true }

// stateGet runs one request to the State API, exclusively, and decodes its envelope:
// {"result":bool,"msg":"","data":{"result":{counts…,"result":rows}}}.
func (c *Client) stateGet(ctx context.Context, op, resource string, q url.Values, counts *listCounts, rows func(*pyjson.Decoder) error) error {
	if err := c.lockState(ctx, op); err != nil {
		return err
	}
	defer c.unlockState()
	var (
		total, afterCut, matched number
		partial                  string
		warnings                 []string
		found                    bool
	)
	inner := map[string]func(*pyjson.Decoder) error{
		"total": into(&total), "num_after_truncation": into(&afterCut), "num_filtered": into(&matched),
		"partial_failure_warning": into(&partial), "warnings": into(&warnings),
		"result": func(d *pyjson.Decoder) error { found = true; return rows(d) },
	}
	path := "/api/v0/" + resource
	err := c.call(ctx, resource, transport.Request{Op: op, Endpoint: path, Path: path, Query: q}, func(d *pyjson.Decoder) error {
		return c.envelope(op, d, within("result", func(d *pyjson.Decoder) error {
			err := eachKey(d, inner)
			if err == nil && !found {
				return &pyjson.ShapeError{Want: "list"}
			}
			return err
		}))
	})
	if err != nil {
		return err
	}
	*counts = listCounts{total.whole(), afterCut.whole(), matched.whole(), counts.received, counts.skipped}
	if counts.total == 0 && len(warnings) > 0 {
		// For tasks, Ray reports a failure in the GCS this way: an empty list with a warning.
		return &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK,
			Detail: c.t.Detail("the list is empty, with a warning: " + strings.Join(warnings, "; "))}
	}
	if partial != "" {
		c.partial.Warn("List is incomplete: Ray could not query all its sources", logrus.Fields{"list": resource, "detail": c.t.Detail(partial)})
	}
	return nil
}

// envelope decodes {"result":bool,"msg":"","data":…}, in which Ray reports its own
// failures with status 200.
func (c *Client) envelope(op string, d *pyjson.Decoder, data func(*pyjson.Decoder) error) error {
	ok, msg, found := true, "", false
	err := eachKey(d, map[string]func(*pyjson.Decoder) error{
		"result": func(d *pyjson.Decoder) error {
			var result *bool
			err := into(&result)(d)
			ok = result == nil || *result
			return err
		},
		"msg":  into(&msg),
		"data": func(d *pyjson.Decoder) error { found = true; return data(d) },
	})
	switch {
	case err != nil && !pyjson.IsShape(err):
		return err
	case !ok:
		return &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: c.t.Detail(msg)}
	case err == nil && !found:
		return &pyjson.ShapeError{Want: "data"}
	}
	return err
}
