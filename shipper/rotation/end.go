package rotation

import (
	"context"
	"errors"

	"raytap/ray"
)

// atItsEnd decides how to go on after a generation was read to its present end.
func (r *Reader) atItsEnd(ctx context.Context, st ray.FileStat) (outcome, error) {
	if r.at == 0 {
		if st.Size == 0 && r.pos == (Position{}) || st.ETag != "" && sameFile(st, r.seen) {
			return atEnd, nil
		}
		if ok, err := r.confirm(ctx, st, r.pos); !ok || err != nil {
			return changed, err
		}
		r.seen = st
		return atEnd, nil
	}
	next, nextStat, lost, err := r.newer(ctx)
	if errors.Is(err, errMoving) {
		return changed, nil
	}
	if err != nil {
		return 0, err
	}
	if next > 0 && nextStat.Size < r.sizes.proof && !r.whole(nextStat) {
		return changed, nil
	}
	ok, err := r.confirm(ctx, st, r.pos)
	if err != nil || !ok {
		return changed, err
	}
	if next < 0 { // it is still the open one, whatever its name is
		return atEnd, nil
	}
	isCopy, err := r.isCopy(ctx, next, nextStat, st)
	switch {
	case errors.Is(err, errMoving):
		return changed, nil
	case err != nil:
		return 0, err
	case isCopy:
		return moved, r.goOnAt(ctx, next, st)
	}
	o, err := r.close(ctx, next, st)
	r.lost = r.lost || lost && o == moved
	return o, err
}

// isCopy reports whether a copied log was read under the name of a copy, st, that was made of
// the next file: that has the same bytes, and those behind them.
func (r *Reader) isCopy(ctx context.Context, next int, nextStat, st ray.FileStat) (bool, error) {
	// Less than a whole head may well be the same in two generations of a chain.
	whole := r.pos.Head.Size == int(r.sizes.proof)
	if !r.copied || r.pos.Raw == 0 || nextStat.Size < r.pos.Raw || !whole && r.pos.After != 0 {
		return false, nil
	}
	same, err := r.fits(ctx, next, r.pos)
	if err != nil {
		return false, err
	}
	if now, err := r.files.Stat(ctx, r.at); missing(err) || err == nil && !sameFile(now, st) {
		return false, errMoving
	} else if err != nil {
		return false, err
	}
	return same, nil
}

// goOnAt goes on in the file that a copy, which was in the state st, was made of: it is the
// same generation.
func (r *Reader) goOnAt(ctx context.Context, next int, st ray.FileStat) error {
	var before Validator
	var err error
	if r.at == next+1 { // as it was compared: by now it may be the copy of more
		before, err = r.validatorOf(ctx, r.at, st)
		err = ignoreMissing(err)
	} else {
		before, err = r.validator(ctx, next+1)
	}
	if err != nil {
		return err
	}
	if next == 0 {
		r.copyOfIt = before
	} else {
		r.pos.After = before
	}
	r.at, r.pos.Own = next, 0
	return nil
}

var errMoving = errors.New("names are moving")

// close goes on to the next generation with a byte, which was found under a number. st is
// the state in which this one was read to its end.
func (r *Reader) close(ctx context.Context, next int, st ray.FileStat) (outcome, error) {
	own, err := r.validatorOf(ctx, r.at, st)
	if err != nil {
		return 0, err
	}
	after := own
	if next != r.at-1 { // empty generations are between them, or deleted ones
		st, err := r.files.Stat(ctx, next+1)
		switch {
		case missing(err) && r.settled:
			after, err = r.validator(ctx, next+2)
		case err == nil && (st.Size > 0 || !r.whole(st)):
			return changed, nil
		default:
			after = fileValidator(st, nil)
		}
		if err != nil {
			return changed, ignoreMissing(err)
		}
	}
	// The last look at this one: a later one has a byte now, so it does not change any more.
	now, err := r.validator(ctx, r.at)
	if err != nil || now != own || after == 0 {
		return changed, err
	}
	r.pos, r.at, r.fresh, r.repeat = Position{After: after}, next, true, Sum{}
	return moved, nil
}

// whole reports whether a file with less than a whole head is not a copy that is being
// written: in a copied log only if it was the same in an earlier look.
func (r *Reader) whole(st ray.FileStat) bool {
	v := fileValidator(st, nil)
	if r.small != v {
		r.small, r.smallAt = v, r.looks
	}
	return !r.copied || r.smallAt != r.looks
}

// newer returns the number of the next generation that has a byte, or -1. lost: a number
// between them is missing for good. errMoving: it may be on its way.
func (r *Reader) newer(ctx context.Context) (next int, st ray.FileStat, lost bool, err error) {
	for k := r.at - 1; k >= 0; k-- {
		st, err = r.files.Stat(ctx, k)
		switch {
		case missing(err) && k > 0:
			if lost = true; !r.settled {
				return -1, st, lost, errMoving
			}
		case err != nil && !missing(err):
			return -1, st, lost, err
		case err == nil && st.Size > 0:
			return k, st, lost, nil
		}
	}
	return -1, st, false, nil
}
