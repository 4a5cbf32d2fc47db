package kuberay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// rotation is a token whose Secret and head change on cue.
type rotation struct {
	t      *testing.T
	token  token
	secret string // its value; "": the Secret is gone
	head   string // what the head accepts
	reads  int
}

var errGone = errors.New("not found")

func (r *rotation) get(context.Context, string, secretKey) (string, error) {
	r.reads++
	if r.secret == "" {
		return "", errGone
	}
	return r.secret, nil
}

// pass lets time go by, with a request each second, and returns how many of them the
// head refused.
func (r *rotation) pass(d time.Duration) (refused int) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		r.token.read(r.t.Context(), r.get)
		text, err := r.token.Token()
		switch {
		case err != nil || text != r.head:
			refused++
			if err == nil {
				r.token.Rejected(text)
			}
		default:
			r.token.Accepted(text)
		}
	}
	return refused
}

func (r *rotation) reset() int {
	n := r.reads
	r.reads = 0
	return n
}

func TestToken(t *testing.T) {
	key := secretKey{"s", "auth_token"}
	synctest.Test(t, func(t *testing.T) {
		r := &rotation{t: t, secret: "one", head: "one", token: token{namespace: "ray", wake: func() {}}}
		if r.token.use("pod/0", key) {
			t.Error("ready before the Secret was read")
		}
		if text, err := r.token.Token(); err == nil {
			t.Errorf("token %q before the Secret was read", text)
		}
		if n := r.pass(time.Hour); n != 0 || r.reset() != 1 {
			t.Errorf("%d requests refused", n)
		}
		if !r.token.use("pod/0", key) {
			t.Error("not ready")
		}

		// The Secret has another token, Ray goes on with its own.
		r.secret = "two"
		if n := r.pass(time.Hour); n != 0 || r.reset() != 0 {
			t.Errorf("%d requests refused while Ray keeps its token", n)
		}
		// Ray's container is started again, with the new one.
		r.head = "two"
		if r.token.use("pod/1", key) {
			t.Error("ready before the Secret was read for the new container")
		}
		if n := r.pass(time.Hour); n != 0 || r.reset() != 1 {
			t.Errorf("%d requests refused after a restart", n)
		}
		// Ray is started again, but its container is not: found by its answer.
		r.secret, r.head = "three", "three"
		if n := r.pass(time.Hour); n != 1 || r.reset() != 1 {
			t.Errorf("%d requests refused after a change that was not seen", n)
		}
		// The Secret is replaced by a wrong one, and another container asks for it.
		r.secret = "wrong"
		r.token.use("pod/2", key)
		if n := r.pass(time.Hour); n > 20 {
			t.Errorf("%d requests refused while the Secret is wrong", n)
		}
		if n := r.reset(); n > 20 {
			t.Errorf("%d reads while the Secret is wrong", n)
		}
		// The Secret is gone.
		r.secret = ""
		r.token.use("pod/3", key)
		if n := r.pass(time.Hour); n > 1 {
			t.Errorf("%d requests refused without a Secret", n)
		}
		if !r.token.use("pod/3", key) {
			t.Error("not ready without a Secret")
		}
	})
}

// A Secret that cannot be read is tried again, rarely, and each request says why.
func TestToken_Unreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rotation{t: t, token: token{namespace: "ray", wake: func() {}}}
		r.token.use("pod/0", secretKey{"s", "auth_token"})
		r.pass(time.Hour)
		if n := r.reset(); n < 10 || n > 20 {
			t.Errorf("%d reads in an hour", n)
		}
		if !r.token.use("pod/0", secretKey{"s", "auth_token"}) {
			t.Error("not ready: no request would say why")
		}
		if _, err := r.token.Token(); !errors.Is(err, errGone) {
			t.Errorf("got %v", err)
		}
		r.secret, r.head = "one", "one"
		if r.pass(maxTokenPause); r.token.lastError() != nil {
			t.Error("not read again")
		}
	})
}

// A cluster without a token sends none, and reads nothing.
func TestToken_None(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rotation{t: t, head: "x", token: token{namespace: "ray", wake: func() {}}}
		if !r.token.use("pod/0", secretKey{}) {
			t.Error("not ready")
		}
		if r.pass(time.Hour); r.reads != 0 {
			t.Errorf("%d reads", r.reads)
		}
	})
}
