package acceptance_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// live are the names of the clusters that somebody has.
func (s *siege) live() (names []string) {
	for _, u := range s.users {
		if u.now != nil && u.now.id != "" && !u.now.gone {
			names = append(names, u.now.name)
		}
	}
	slices.Sort(names)
	return names
}

// hostTells compares the namespaces and releases on the host with the clusters
// that are there.
func (s *siege) hostTells() error {
	k := s.host.client(s.t)
	spaces, err := k.CoreV1().Namespaces().List(s.ctx, metav1.ListOptions{LabelSelector: "kubebyon.io/cluster"})
	if err != nil {
		return err
	}
	var got []string
	for _, n := range spaces.Items {
		got = append(got, n.Name)
	}
	slices.Sort(got)
	if want := s.live(); !slices.Equal(got, want) {
		return fmt.Errorf("the host has the namespaces %v, want %v", got, want)
	}
	for _, name := range got {
		if err := s.oneRelease(s.ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// oneRelease says what is wrong with the release of a cluster that is up.
func (s *siege) oneRelease(ctx context.Context, name string) error {
	k := s.host.client(s.t)
	secrets, err := k.CoreV1().Secrets(name).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm"})
	if err != nil {
		return err
	}
	by := map[string]int{}
	for _, r := range secrets.Items {
		by[r.Labels["status"]]++
		if r.Labels["name"] != name {
			return fmt.Errorf("the namespace %s holds a release %s", name, r.Labels["name"])
		}
	}
	if by["deployed"] != 1 || by["pending-install"]+by["pending-upgrade"]+by["pending-rollback"]+by["uninstalling"] > 0 {
		return fmt.Errorf("the releases in %s are %v", name, by)
	}
	sets, err := k.AppsV1().StatefulSets(name).List(ctx, metav1.ListOptions{LabelSelector: "app=vcluster"})
	if err != nil || len(sets.Items) != 1 {
		return fmt.Errorf("%s has %d control planes: %w", name, len(sets.Items), orNone(err))
	}
	return nil
}

var errNone = errors.New("no error")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// nothingOf looks for what a deleted cluster has left on the host.
func (s *siege) nothingOf(name string) error {
	k := s.host.client(s.t)
	spaces, err := k.CoreV1().Namespaces().List(s.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err == nil && len(spaces.Items) > 0 {
		return fmt.Errorf("the namespace %s is still there: %+v", name, spaces.Items[0].Status)
	}
	return err
}

// databaseTells looks at what nobody has shown through the API.
func (s *siege) databaseTells() error {
	db, err := sql.Open("pgx", s.postgres.url(s.postgres.address()))
	if err != nil {
		return err
	}
	defer db.Close()
	clusters := 0
	for _, u := range s.users {
		clusters += len(u.gone)
	}
	var wrong []error
	for _, q := range []struct{ query, want string }{
		{"SELECT count(*) FROM clusters", fmt.Sprint(clusters)},
		{"SELECT count(*) FROM clusters WHERE status <> 'deleted' OR deleted_at IS NULL", "0"},
		{"SELECT count(*) FROM outbox", "0"},
		{"SELECT count(*) FROM jobs WHERE status NOT IN ('succeeded', 'failed') OR worker_id <> '' OR leased_until IS NOT NULL OR published_at IS NULL", "0"},
		{"SELECT count(*) FROM jobs WHERE attempt_count < 1", "0"},
		{"SELECT count(*) FROM operations o WHERE (SELECT count(*) FROM jobs j WHERE j.operation_id = o.id AND j.cluster_id = o.cluster_id AND j.status = o.status AND j.type = o.type) <> 1", "0"},
		{"SELECT count(*) FROM operations WHERE type = 'delete' AND status <> 'succeeded'", "0"},
		{"SELECT count(*) FROM operations WHERE status = 'failed' AND error_message NOT LIKE 'The cluster is being deleted%'", "0"},
		{"SELECT count(*) FROM operations WHERE NOT (created_at <= started_at AND started_at <= finished_at AND finished_at <= updated_at)", "0"},
	} {
		var got string
		if err := db.QueryRowContext(s.ctx, q.query).Scan(&got); err != nil || got != q.want {
			wrong = append(wrong, fmt.Errorf("%s: %s, want %s (%w)", q.query, got, q.want, orNone(err)))
		}
	}
	return errors.Join(wrong...)
}
