package discovery

import (
	"testing"
	"testing/synctest"
)

// Who waits for a change sees each state that is set after it asked, or a later one.
func TestFacts_Changed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Facts
		if f.State().Phase != Waiting {
			t.Errorf("the zero value is in phase %v", f.State().Phase)
		}
		seen := make(chan Phase)
		for range 3 {
			go func() {
				for {
					changed := f.Changed()
					p := f.State().Phase
					if p == Gone {
						seen <- p
						return
					}
					<-changed
				}
			}()
		}
		for _, p := range []Phase{Running, Draining, Gone} {
			synctest.Wait()
			f.Set(State{Phase: p})
		}
		for range 3 {
			<-seen
		}
	})
}
