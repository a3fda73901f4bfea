package bunstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// BenchmarkWrites measures what indexes and sums cost those who write: ten nodes
// that change their status, and one audit event, each in a transaction.
func BenchmarkWrites(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			nodes := tenNodes(b, s)
			turn := 0
			b.Run("TenNodes", func(b *testing.B) {
				for b.Loop() {
					turn++
					for i := range nodes {
						nodes[i].Status = []string{"ready", "not_ready"}[turn%2]
					}
					write(b, s, func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Put(ctx, nodes...) })
				}
			})
			b.Run("AuditEvent", func(b *testing.B) {
				for b.Loop() {
					turn++
					var random [10]byte
					binary.BigEndian.PutUint64(random[:], uint64(turn))
					e := store.AuditEvent{
						ID: id.New[id.AuditKind](t0, random), OccurredAt: t0, ActorUserID: id.New[id.UserKind](t0, [10]byte{1}), ResourceType: "node", Action: "cordon",
						ResourceID: "x", Message: "Cordoned the node worker-1.",
					}
					write(b, s, func(ctx context.Context, tx store.Tx) error { return tx.Audit().Append(ctx, e) })
				}
			})
		})
	}
}

func write(b *testing.B, s *Store, do func(ctx context.Context, tx store.Tx) error) {
	b.Helper()
	if err := s.InTx(b.Context(), do); err != nil {
		b.Fatal(err)
	}
}

func tenNodes(b *testing.B, s *Store) (nodes []store.Node) {
	b.Helper()
	_, _, last := furnish(b, s)
	for i := range 10 {
		nodes = append(nodes, store.Node{
			ID: id.New[id.NodeKind](t0, [10]byte{byte(i)}), ClusterID: last, Name: fmt.Sprint("worker-", i), InternalIP: fmt.Sprint("10.0.0.", i),
			Status: "ready", CreatedAt: t0, UpdatedAt: t0, CPUAllocatableMilli: 4000,
		})
	}
	write(b, s, func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Put(ctx, nodes...) })
	return nodes
}
