package bus

import "context"

// Around is called before messages are published or handled; what it returns is
// the context in which that is done, and what is called with its outcome.
type Around = func(ctx context.Context, call string, msgs ...Message) (context.Context, func(error))

// The calls that an Around is told of.
const (
	Publishing = "publish"
	Handling   = "handle"
)

// Intercept puts around about everything that is published and handled through
// b. The result can be pinged if b can; whatever else b is, it has to be asked
// itself.
func Intercept(b Bus, around Around) Bus {
	in := intercepted{b, around}
	if ping, ok := b.(pinger); ok {
		return struct {
			intercepted
			pinger
		}{in, ping}
	}
	return in
}

// pinger takes part in readiness.
type pinger interface {
	Ping(ctx context.Context) error
}

type intercepted struct {
	Bus
	around Around
}

func (i intercepted) Publish(ctx context.Context, msgs ...Message) (err error) {
	ctx, done := i.around(ctx, Publishing, msgs...)
	err = errPanicked
	defer func() { done(err) }()
	err = i.Bus.Publish(ctx, msgs...)
	return err
}

func (i intercepted) Subscribe(ctx context.Context, messageType, group string, concurrency int, h Handler) error {
	if h == nil {
		return i.Bus.Subscribe(ctx, messageType, group, concurrency, nil)
	}
	return i.Bus.Subscribe(ctx, messageType, group, concurrency, func(ctx context.Context, m Message) (err error) {
		ctx, done := i.around(ctx, Handling, m)
		err = errPanicked
		defer func() { done(err) }()
		err = h(ctx, m)
		return err
	})
}

type sentence string

func (s sentence) Error() string { return string(s) }

const errPanicked = sentence("what was called has panicked")
