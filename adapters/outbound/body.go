package outbound

import (
	"context"
	"errors"
	"io"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// body reads an answer up to a limit, and ends its exchange.
type body struct {
	from io.ReadCloser
	left int64
	done context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than is left tells a body of just the limit from a longer one.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	if int64(n) > b.left {
		return int(b.left), fault.Unavailable.New("answer_too_large", "The answer is longer than is read of one.")
	}
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreachable(err)
	}
	return n, err
}

func (b *body) Close() error {
	defer b.done()
	return b.from.Close()
}
