package kuberay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"raytap/secret"
)

// The pause between two reads of a Secret. It doubles while a token is refused and the
// Secret has no other. Another container of the head, which the kubelet starts after
// pauses of its own, waits for less.
const (
	minTokenPause  = 10 * time.Second
	maxTokenPause  = 5 * time.Minute
	containerPause = time.Second
)

// token is the token of a cluster. In use is the last one that its head accepted: the
// Secret can have another one for hours, because Ray's processes keep the one that they
// were started with. The Secret is read when the head's container is another one, and
// when the head refused a token. A Secret that is gone, or that must not be read any
// more, takes no token away. Safe for concurrent use.
type token struct {
	mu        sync.Mutex
	wake      func() // called when a read may be due
	namespace string
	key       secretKey // where it is; the zero value: there is none
	head      string    // the head's container
	tried     string    // the head's container that the Secret was last read for
	accepted  *secret.Text
	candidate *secret.Text // of the Secret, not yet accepted; nil: none
	err       error        // of the last read; nil: it succeeded
	wanted    bool         // a read is to come, when due
	reading   bool
	last, due time.Time
	pause     time.Duration
}

// Token returns the token for the next request. An error means that there must be one,
// and that it could not be read yet.
func (t *token) Token() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.candidate != nil:
		return string(*t.candidate), nil
	case t.accepted != nil:
		return string(*t.accepted), nil
	case t.key == (secretKey{}):
		return "", nil
	case t.err != nil:
		return "", t.err
	}
	return "", fmt.Errorf("the Secret %s/%s has not been read yet", t.namespace, t.key.Name)
}

// Accepted notes that the head answered a request with this token.
func (t *token) Accepted(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.candidate != nil && string(*t.candidate) == text {
		t.accepted, t.candidate = t.candidate, nil
	}
	if t.accepted != nil && string(*t.accepted) == text {
		t.pause = 0
	}
}

// Rejected notes that the head refused a request with this token. After a new
// one the one before is used, and if that is refused, too, the Secret is read again.
func (t *token) Rejected(text string) {
	t.mu.Lock()
	is := func(x *secret.Text) bool { return x != nil && string(*x) == text }
	switch {
	case is(t.candidate) && t.accepted != nil:
		t.candidate = nil
	case is(t.candidate), t.candidate == nil && is(t.accepted):
		t.wanted = true
	}
	wanted, wake := t.wanted, t.wake
	t.mu.Unlock()
	if wanted {
		wake()
	}
}

// setWake sets the function to call when a read may be due.
func (t *token) setWake(wake func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake = wake
}

// use sets which container the head is, and where its token is. It reports whether
// requests can be sent: the Secret was read for this container, or could not be read,
// which the requests then say.
func (t *token) use(head string, key secretKey) (ready bool) {
	t.mu.Lock()
	if head == t.head && key == t.key {
		defer t.mu.Unlock()
		return !t.wanted && !t.reading || t.tried == head
	}
	t.head, t.key, t.pause, t.err = head, key, 0, nil
	t.due = t.last.Add(containerPause)
	t.wanted = key != (secretKey{})
	if !t.wanted {
		t.accepted, t.candidate = nil, nil
	}
	wanted, wake := t.wanted, t.wake
	t.mu.Unlock()
	if wanted {
		wake()
	}
	return !wanted
}

// next returns when a read is due, and false if none is.
func (t *token) next() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.due, t.wanted && !t.reading
}

// read reads the Secret if that is due, with get. It reports whether it did.
func (t *token) read(ctx context.Context, get func(context.Context, string, secretKey) (string, error)) bool {
	t.mu.Lock()
	if !t.wanted || t.reading || time.Now().Before(t.due) {
		t.mu.Unlock()
		return false
	}
	t.wanted, t.reading = false, true
	head, key := t.head, t.key
	t.mu.Unlock()

	text, err := get(ctx, t.namespace, key)

	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = false
	t.pause = min(max(2*t.pause, minTokenPause), maxTokenPause)
	t.last = time.Now()
	t.due = t.last.Add(t.pause)
	if head != t.head || key != t.key {
		return true // it is read again for the new container
	}
	t.err, t.tried = err, head
	if err != nil {
		t.wanted = t.accepted == nil && t.candidate == nil
		return true
	}
	t.candidate = nil
	if t.accepted == nil || string(*t.accepted) != text {
		value := secret.Text(text)
		t.candidate = &value
	}
	return true
}

// lastError returns the error of the last read, nil if it succeeded.
func (t *token) lastError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// String names where the token is, for messages.
func (t *token) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.key == (secretKey{}) {
		return "authOptions of the RayCluster, or a Secret in " + tokenVariable + " of its head pod"
	}
	return fmt.Sprintf("the key %s of the Secret %s/%s", t.key.Key, t.namespace, t.key.Name)
}
