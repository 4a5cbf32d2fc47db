package rotation

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"raytap/ray"
)

// named is a file that was found under a number.
type named struct {
	number int
	size   int64
	id     Validator
}

// listing is the files of a log, lowest number first.
type listing struct {
	files []named
	// moving: a number is missing below another one, or the log itself is missing: names
	// move, or were removed.
	moving  bool
	absence error // that of the log itself
}

// scan looks for the files, lowest number first: a generation only moves up, so that none
// is overlooked.
func (r *Reader) scan(ctx context.Context) (listing, error) {
	var l listing
	gap := false
	for k := 0; k <= maxNumber; k++ {
		st, err := r.files.Stat(ctx, k)
		if missing(err) {
			if k == 0 {
				l.absence, l.moving = err, true
				continue
			}
			if gap {
				break
			}
			gap = true
			continue
		}
		if err != nil {
			return l, err
		}
		id, err := r.validatorOf(ctx, k, st)
		if missing(err) {
			l.moving = true
			continue
		}
		if err != nil {
			return l, err
		}
		l.moving = l.moving || gap
		gap = false
		l.files = append(l.files, named{k, st.Size, id})
	}
	return l, nil
}

// same reports whether no file was moved or rewritten between two listings.
func (l *listing) same(now *listing) bool {
	return slices.EqualFunc(l.files, now.files, func(a, b named) bool {
		return a.number == b.number && (a.id == b.id || a.number == 0 && a.size <= b.size)
	})
}

// sum returns a hash of the names and files of a listing, without the log itself.
func (l *listing) sum() uint64 {
	var b []byte
	for _, f := range l.files {
		if f.number > 0 {
			b = binary.LittleEndian.AppendUint64(append(b, byte(f.number)), uint64(f.id))
		}
	}
	return max(xxhash.Sum64(b), 1)
}

// index returns where a number is, or -1.
func (l *listing) index(number int) int {
	return slices.IndexFunc(l.files, func(f named) bool { return f.number == number })
}

// find returns where a file is, the highest number first, or -1. Two files have one id if
// they were written within one tick of the file system's clock and have the same size.
func (l *listing) find(id Validator) int {
	for i := len(l.files) - 1; i >= 0 && id != 0; i-- {
		if l.files[i].id == id {
			return i
		}
	}
	return -1
}

// before returns the file with the next higher number; zero if there is none.
func (l *listing) before(i int) Validator {
	if i+1 < len(l.files) {
		return l.files[i+1].id
	}
	return 0
}

// follows reports whether no number is missing between a file and the next one.
func (l *listing) follows(i int) bool {
	return i+1 < len(l.files) && l.files[i+1].number == l.files[i].number+1
}

// locate finds the position's generation among the names.
func (r *Reader) locate(ctx context.Context) (outcome, error) {
	l, err := r.scan(ctx)
	if err != nil {
		return 0, err
	}
	last := r.tries == 2
	r.settled = last && l.moving && r.stuck == l.sum()
	switch {
	case !l.moving:
		r.holed = 0
	case last:
		r.holed = l.sum()
	}
	if len(l.files) == 0 || l.moving && !last {
		r.cause = l.absence
		return changed, nil
	}
	if r.pos == (Position{}) { // first sight: the oldest that there is
		return r.found(len(l.files)-1, &l), nil
	}
	i, sure, err := r.choose(ctx, &l)
	if err != nil {
		return 0, err
	}
	if i >= 0 && !sure {
		alike, err := r.resembles(ctx, &l, i)
		if err != nil {
			return changed, ignoreMissing(err)
		}
		if alike && r.pos.Own != 0 {
			i = -1 // it was closed, and is under no name any more
		} else {
			// It is the one, unless that was deleted: rather a loss announced in vain, and a
			// few lines lost, than lines twice.
			r.lost = r.lost || alike
		}
	}
	switch {
	case i >= 0:
		return r.found(i, &l), nil
	case !last, l.absence != nil, l.moving && !r.settled:
		r.cause = l.absence
		return changed, nil
	}
	return r.giveUp(ctx, &l)
}

// found notes that the generation is the file i of a listing.
func (r *Reader) found(i int, l *listing) outcome {
	r.at, r.located = l.files[i].number, true
	if r.pos.Own != l.files[i].id {
		r.pos.Own = 0 // it was not closed, or what was read was a copy of it
	}
	before := l.before(i)
	if r.settled && r.pos.Raw > 0 && !l.follows(i) {
		before = 0 // it was deleted, and confirm asks for its number alone
	}
	switch {
	case r.pos == (Position{}):
	case r.at == 0 && r.copied && r.pos.Raw > 0 && (before != 0 || l.find(r.pos.After) >= 0):
		// NAME.1 may be a copy of this generation, and then it is not the one before it.
		r.copyOfIt = before
	default:
		r.pos.After = before
	}
	return moved
}

// choose returns the file of a listing that is the position's generation, or -1. It is not
// sure if only the content says so.
func (r *Reader) choose(ctx context.Context, l *listing) (i int, sure bool, err error) {
	if i := l.find(r.pos.Own); i >= 0 {
		return i, true, nil
	}
	if j := l.find(r.pos.After); j >= 0 && l.files[j].number > 0 {
		i := l.index(l.files[j].number - 1)
		if i < 0 && j > 0 && r.settled && r.pos.Raw > 0 { // the number was deleted, or is that of a deleted one before it
			ok, err := r.fits(ctx, l.files[j-1].number, r.pos)
			if ok || err != nil {
				return j - 1, false, err
			}
		}
		if i < 0 {
			return -1, false, nil
		}
		for ; i >= 0; i-- { // a copied log can be under a lower number, if the copy is not whole yet
			if ok, err := r.fits(ctx, l.files[i].number, r.pos); ok || err != nil {
				return i, true, err
			}
			if !r.copied || r.pos.Raw == 0 {
				break
			}
		}
		return -1, false, nil
	}
	if r.pos.Head.Size == 0 {
		return -1, false, nil
	}
	for _, i := range r.candidates(l) {
		if ok, err := r.fits(ctx, l.files[i].number, r.pos); ok || err != nil {
			oldest := i == len(l.files)-1 && r.pos.After == 0 && r.pos.Own == 0
			return i, r.copied || oldest, err
		}
	}
	return -1, false, nil
}

// candidates returns the files of a listing in the order in which their content is
// compared, where no name can be told by its validator: the oldest first. In a copied log
// whose predecessor is gone, NAME.1 was overwritten in place, most likely: then the older
// ones were read before, and NAME.1 is the copy of what was NAME.
func (r *Reader) candidates(l *listing) []int {
	var order []int
	for i := range l.files {
		order = append(order, i)
	}
	switch {
	case !r.copied || r.pos.After == 0:
		slices.Reverse(order)
	case l.files[0].number == 0:
		order = append(order[1:], 0)
	}
	return order
}

// giveUp starts again with the oldest generation after the one that is gone: no file of a
// listing is the one.
func (r *Reader) giveUp(ctx context.Context, l *listing) (outcome, error) {
	now, err := r.scan(ctx)
	if err != nil || !l.same(&now) {
		return changed, err
	}
	i := len(l.files) - 1
	if j := l.find(r.pos.After); j > 0 {
		i = j - 1
	} else if r.copied && r.pos.Raw > 0 {
		for ; i > 0; i-- { // a shorter copy of what was read is not new
			stale, err := r.begins(ctx, l.files[i].number, r.pos.Head)
			if err != nil {
				return 0, err
			}
			if !stale {
				break
			}
		}
	}
	r.pos, r.lost, r.fresh, r.repeat = Position{After: l.before(i)}, true, true, Sum{}
	r.at, r.located = l.files[i].number, true
	return moved, nil
}

// fits reports whether a file has the bytes before a position.
func (r *Reader) fits(ctx context.Context, k int, pos Position) (bool, error) {
	proof := pos.Proof
	if pos == r.pos {
		proof = r.proof()
	}
	if proof.Size > 0 {
		b, st, err := r.read(ctx, k, pos.Raw-int64(proof.Size), pos.Raw)
		if missing(err) {
			return false, nil
		}
		if err != nil || st.Size < pos.Raw || !proof.is(b) {
			return false, err
		}
	}
	return r.begins(ctx, k, pos.Head)
}

// begins reports whether a file begins with a piece.
func (r *Reader) begins(ctx context.Context, k int, head Sum) (bool, error) {
	if head.Size == 0 {
		return true, nil
	}
	b, _, err := r.read(ctx, k, 0, int64(head.Size))
	if missing(err) {
		return false, nil
	}
	return err == nil && head.is(b), err
}

// resembles reports whether another file begins like file i of a listing: then the content
// does not tell which of them was read. It returns an error with ray.Code 404 if file i has
// another name by now.
func (r *Reader) resembles(ctx context.Context, l *listing, i int) (bool, error) {
	own, _, err := r.read(ctx, l.files[i].number, 0, r.sizes.proof)
	if err != nil {
		return false, err
	}
	for j, f := range l.files {
		if j == i || f.size == 0 {
			continue
		}
		b, _, err := r.read(ctx, f.number, 0, int64(len(own)))
		if err != nil && !missing(err) {
			return false, err
		}
		if len(b) > 0 && bytes.HasPrefix(own, b) {
			return true, nil
		}
	}
	return false, nil
}

func ignoreMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}

// validator returns the validator of a file, or 0 if it does not exist.
func (r *Reader) validator(ctx context.Context, k int) (Validator, error) {
	st, err := r.files.Stat(ctx, k)
	if err != nil {
		return 0, ignoreMissing(err)
	}
	v, err := r.validatorOf(ctx, k, st)
	return v, ignoreMissing(err)
}

// validatorOf returns the validator of a file in a state. Without an ETag it reads the
// file's beginning; if that is another file by now, the validator is that of none.
func (r *Reader) validatorOf(ctx context.Context, k int, st ray.FileStat) (Validator, error) {
	if st.ETag != "" {
		return fileValidator(st, nil), nil
	}
	b, _, err := r.read(ctx, k, 0, r.sizes.proof)
	if err != nil {
		return 0, err
	}
	return fileValidator(st, b), nil
}
