package hostplane

import (
	"context"
	"sync"

	"k8s.io/client-go/rest"
)

func (b *box) serveMetrics(_ context.Context, _ *rest.Config, _ *sync.WaitGroup) (bool, error) {
	return false, nil
}
