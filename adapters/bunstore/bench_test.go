package bunstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// clustersInBench is how many clusters one owner has in the benchmarks.
const clustersInBench = 10_000

func BenchmarkView(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		b.Run(name, func(b *testing.B) { benchmarkViews(b, open(b)) })
	}
}

func benchmarkViews(b *testing.B, s *Store) {
	u, hash, last := furnish(b, s)
	mine := store.OwnedBy(u)
	for _, read := range []struct {
		name string
		do   func(ctx context.Context, tx store.Tx) error
	}{
		{"ByTokenHash", func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.Sessions().ByTokenHash(ctx, hash)
			return err
		}},
		{"GetOneCluster", func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().Get(ctx, mine, last)
			return err
		}},
		{"List100Clusters", func(ctx context.Context, tx store.Tx) error {
			p, err := tx.Clusters().List(ctx, mine, store.ClusterFilter{}, page.Query{Limit: 100})
			return atLeast(100, len(p.Items), err)
		}},
		{"SearchWithOneHit", func(ctx context.Context, tx store.Tx) error {
			p, err := tx.Clusters().List(ctx, mine, store.ClusterFilter{Search: "NUMBER 7777 "}, page.Query{Limit: 100})
			return atLeast(1, len(p.Items), err)
		}},
	} {
		b.Run(read.name+"/Alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.View(b.Context(), read.do); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(read.name+"/64AtOnce", func(b *testing.B) {
			b.SetParallelism(32) // times GOMAXPROCS, two on the machine that this is for
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.View(b.Context(), read.do); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkInTx(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			for b.Loop() {
				err := s.InTx(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Facts().Set(ctx, "x", []byte("y")) })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func atLeast(want, got int, err error) error {
	if err == nil && got < want {
		return fmt.Errorf("%d items, want %d", got, want)
	}
	return err
}

// furnish stores a user with a session and many clusters.
func furnish(b *testing.B, s *Store) (u id.User, hash []byte, last id.Cluster) {
	b.Helper()
	u, hash = id.New[id.UserKind](t0, [10]byte{1}), []byte("a hash of thirty-two bytes in all")
	err := s.InTx(b.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.Users().Insert(ctx, store.User{ID: u, Email: "ann@example.com", Status: "active", CreatedAt: t0, UpdatedAt: t0}); err != nil {
			return err
		}
		ses := store.Session{ID: id.New[id.SessionKind](t0, [10]byte{1}), UserID: u, TokenHash: hash, CreatedAt: t0, ExpiresAt: t0, EndsAt: t0}
		if err := tx.Sessions().Insert(ctx, ses); err != nil {
			return err
		}
		for n := range clustersInBench {
			var random [10]byte
			binary.BigEndian.PutUint32(random[:], uint32(n))
			last = id.New[id.ClusterKind](t0.Add(time.Duration(n)*time.Second), random)
			c := store.Cluster{
				ID: last, OwnerUserID: u, Origin: "hosted", Name: fmt.Sprintf("Cluster number %d of many", n), VclusterName: fmt.Sprintf("cluster-%d", n),
				Status: "ready", ConnectionStatus: "reachable", KubernetesVersion: "v1.37.2", CreatedAt: t0, UpdatedAt: t0, KubeconfigAvailableAt: &t0,
			}
			if err := tx.Clusters().Insert(ctx, &c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.writer.Exec("ANALYZE"); err != nil {
		b.Fatal(err)
	}
	return u, hash, last
}
