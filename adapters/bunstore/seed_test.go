package bunstore

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// size is how much a grown database holds.
type size struct{ users, clusters, nodes, nodeEvents, audits int }

// grown is a database with many rows and no regard for whoever must read them:
// one owner has a fifth of everything, what belongs together was written far
// apart, and some things are so rare that only the oldest rows have them. What is
// rare is as many rows in a small one as in a big one.
type grown struct{ size }

// The people that tests ask as. Everybody else has a few clusters.
const (
	bigOwner = 0 // has a fifth of the clusters
	admin    = 1 // has none, and sees all
	small    = 2
)

func (g grown) user(i int) id.User       { return numbered[id.UserKind]("usr", i) }
func (g grown) cluster(i int) id.Cluster { return numbered[id.ClusterKind]("cl", i) }
func (g grown) node(i int) id.Node       { return numbered[id.NodeKind]("node", i) }

// numbered is the identifier that [filling.id] gives to row i.
func numbered[K id.Kind](prefix string, i int) id.ID[K] {
	v, err := id.Parse[K](fmt.Sprintf("%s_06%023d0", prefix, i))
	if err != nil {
		panic(err)
	}
	return v
}

// fill writes g straight into the tables. It leaves the database as one is that
// has been up for a day: with current statistics.
func fill(t testing.TB, s *Store, of size) grown {
	t.Helper()
	f := filling{grown: grown{of}}
	if _, ok := s.engine.(sqliteFile); ok {
		f.file = true
	}
	err := s.writer.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		for _, statement := range f.statements() {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range f.upkeep() {
		if _, err := s.writer.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return f.grown
}

type filling struct {
	grown
	file bool // SQLite
}

func (f filling) upkeep() []string {
	if f.file {
		return []string{"ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"}
	}
	var out []string
	for _, table := range large {
		out = append(out, "VACUUM ANALYZE "+table)
	}
	return out
}

// large are the tables that grow with what the platform is used for.
var large = []string{ //nolint:gochecknoglobals // a constant
	"clusters", "nodes", "node_events", "audit_events", "operations", "jobs", "tokens", "sessions", "users", "api_keys",
	"outbox", "replies", "leases", "node_totals", "control_plane_samples",
	"codes", "sso_identities", "sign_ins", "avatars", "preferences", "deliveries", "fleet", "fleet_contents",
}

// rows inserts n rows into a table; values are of i, which counts from 0.
func (f filling) rows(table string, n int, columns map[string]string, where string) string {
	var names, values []string
	for c, v := range columns {
		names, values = append(names, c), append(values, v)
	}
	series := fmt.Sprintf("generate_series(0, %d) AS s (i)", n-1)
	if f.file {
		series = fmt.Sprintf("(WITH RECURSIVE s (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < %d) SELECT i FROM s) AS s", n-1)
	}
	return f.spell(fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE %s", table, strings.Join(names, ", "), strings.Join(values, ", "), series, where))
}

// spell writes what the databases spell differently.
func (f filling) spell(sql string) string {
	words := []string{"NOW", "timestamptz '2026-04-23 07:50:00Z'", "BYTES", "bytea"}
	if f.file {
		words = []string{"NOW", "1776930600000", "BYTES", "BLOB"}
	}
	return strings.NewReplacer(words...).Replace(sql)
}

func (f filling) minutesAgo(n string) string {
	if f.file {
		return "NOW - 60000 * (" + n + ")"
	}
	return "NOW - interval '1 minute' * (" + n + ")"
}

func (f filling) id(prefix, n string) string {
	if f.file {
		return fmt.Sprintf("'%s_06' || printf('%%023d', %s) || '0'", prefix, n)
	}
	return fmt.Sprintf("'%s_06' || lpad((%s)::text, 23, '0') || '0'", prefix, n)
}

// ownerOf is the number of a cluster's owner: every fifth has the big one.
func (f filling) ownerOf(cluster string) string {
	return f.id("usr", fmt.Sprintf("(CASE WHEN (%[1]s) %% 5 = 0 THEN 0 ELSE 2 + (%[1]s) %% %[2]d END)", cluster, f.users-2))
}

// deleted is what few clusters are.
func deleted(cluster string) string { return "(" + cluster + ") % 50 = 3" }

func (f filling) statements() []string {
	text := func(s string) string { return "'" + s + "'" }
	separator := text("\x1f")
	// A cluster's nodes and a node's events are scattered over time.
	cluster := fmt.Sprintf("(i * 7919) %% %d", f.clusters)
	node := fmt.Sprintf("(i * 7) %% %d", f.nodes)
	nodesCluster := fmt.Sprintf("(((i * 7) %% %d) * 7919) %% %d", f.nodes, f.clusters)
	nodeName := "CASE WHEN i < 5 THEN 'needle-' || i ELSE 'worker-' || i END"
	userName := "CASE WHEN i < 5 THEN 'Needle ' || i ELSE 'User ' || i END"
	numbers := fmt.Sprintf("SELECT setval('cluster_numbers', %d)", f.clusters)
	if f.file {
		numbers = fmt.Sprintf("UPDATE cluster_numbers SET last = %d", f.clusters)
	}
	return []string{
		numbers,
		f.rows("users", f.users, map[string]string{
			"id": f.id("usr", "i"), "email": "'u' || i || '@example.com'", "name": userName, "avatar_url": text(""),
			"role": fmt.Sprintf("CASE WHEN i = %d THEN 'admin' ELSE 'user' END", admin), "password_hash": text(""),
			"status":     fmt.Sprintf("CASE WHEN i %% %d = 7 THEN 'banned' ELSE 'active' END", max(f.users/20, 1)),
			"created_at": "NOW", "updated_at": "NOW", "version": "1", "search_text": "'u' || i || '@example.com' || " + separator + " || lower(" + userName + ")",
		}, "true"),
		f.rows("codes", f.users, map[string]string{
			"address": "'u' || i || '@example.com'", "purpose": text("reset"), "hash": "CAST('h' AS BYTES)", "created_at": "NOW", "expires_at": "NOW", "tries": "0",
		}, "true"),
		f.rows("sso_identities", f.users, map[string]string{
			"provider": text("github"), "subject_hash": "CAST('i' || i AS BYTES)", "user_id": f.id("usr", "i"), "created_at": "NOW", "last_used_at": "NOW",
		}, "true"),
		f.rows("sign_ins", f.users*5, map[string]string{
			"id": f.id("lgn", "i"), "user_id": fmt.Sprintf("CASE WHEN i %% 3 > 0 THEN %s END", f.id("usr", fmt.Sprintf("i %% %d", f.users))),
			"at": "NOW", "ip": text("10.0.0.1"), "user_agent": text("curl/8"), "method": text("password"), "result": text("failure"),
		}, "true"),
		f.rows("avatars", f.users, map[string]string{
			"user_id": f.id("usr", "i"), "tag": "'t' || i", "content_type": text("image/png"), "body": "CAST('p' AS BYTES)", "updated_at": "NOW",
		}, "true"),
		f.rows("preferences", f.users, map[string]string{
			"user_id": f.id("usr", "i"), "email": "true", "slack": "false", "slack_target": text(""), "telegram": "false", "telegram_chat_id": text(""), "updated_at": "NOW",
		}, "true"),
		f.rows("deliveries", f.audits, map[string]string{
			"id": f.id("ntf", "i"), "key": "'k' || i", "template": "CASE WHEN i < 5 THEN 'order-paid' WHEN i % 3 = 0 THEN 'welcome' ELSE 'cluster-alert' END",
			"channel": "CASE WHEN i % 7 = 0 THEN 'slack' ELSE 'email' END", "user_id": fmt.Sprintf("CASE WHEN i %% 3 > 0 THEN %s END", f.id("usr", fmt.Sprintf("i %% %d", f.users))),
			"target": text("u***@example.com"), "sealed": "CAST('s' AS BYTES)", "attempts": "1", "due_at": f.minutesAgo(fmt.Sprintf("%d - i", f.audits)),
			"status": fmt.Sprintf("CASE WHEN i >= %d THEN 'pending' WHEN i %% 1000 = 7 THEN 'dead' ELSE 'delivered' END", f.audits-100),
			"holder": text("w"), "leased_until": fmt.Sprintf("CASE WHEN i >= %d AND i %% 3 = 0 THEN NOW END", f.audits-100), "last_error": text(""), "created_at": "NOW", "updated_at": "NOW",
		}, "true"),
		"INSERT INTO delivery_kinds (channel, template) SELECT DISTINCT channel, template FROM deliveries",
		f.rows("clusters", f.clusters, map[string]string{
			"id": f.id("cl", "i"), "number": "i + 1", "owner_user_id": f.ownerOf("i"), "origin": text("platform"), "name": "'Cluster ' || i",
			"vcluster_name": "'c' || i", "namespace": "'ns' || i", "control_plane_host": text(""), "former_hosts": text("[]"), "kubernetes_version": text("v1.36.3"),
			"workload_cpu_limit_milli": "4000", "workload_memory_limit_mib": "8192", "control_plane_cpu_request_milli": "100",
			"control_plane_memory_request_mib": "256", "public_access_enabled": "false", "public_access_mode": text(""), "public_access_port": "0",
			"managed_ingress_enabled": "false", "api_endpoint": text("https://10.0.0.1:6443"),
			"status": fmt.Sprintf("CASE WHEN i %% %d = 5 THEN 'error' ELSE 'ready' END", max(f.size.clusters/20, 1)), "connection_status": text("reachable"), "kubeconfig_available_at": "NOW",
			"last_error_message": text(""), "generation": "1", "observed_generation": "1", "created_at": "NOW", "updated_at": "NOW",
			"deleted_at": "CASE WHEN " + deleted("i") + " THEN NOW END", "version": "1",
			"search_text": "'cluster ' || i || " + separator + " || 'c' || i || " + separator + " || " + f.id("cl", "i"),
		}, "true"),
		f.rows("fleet", f.clusters-1, map[string]string{
			"cluster_id": f.id("cl", "i"), "description": text("staging"), "prometheus_url": text(""), "disabled": "i % 50 = 4", "is_default": "i = 1",
			"credential": text("kubeconfig"), "sealed": "CAST('s' AS BYTES)", "updated_at": "NOW", "version": "1",
		}, "true"),
		f.rows("fleet_contents", f.clusters-1, map[string]string{"cluster_id": f.id("cl", "i"), "namespaces": "4", "pods": "i", "counted_at": "NOW"}, "true"),
		f.rows("nodes", f.nodes, map[string]string{
			"id": f.id("node", "i"), "cluster_id": f.id("cl", cluster), "owner_user_id": f.ownerOf(cluster), "name": nodeName, "uid": text(""),
			"status": fmt.Sprintf("CASE WHEN i %% %d = 10 THEN 'unknown' ELSE 'ready' END", max(f.size.nodes/50, 1)), "unschedulable": "false", "internal_ip": "'10.1.' || i % 250 || '.' || i % 199",
			"pod_cidr": text("10.244.0.0/24"), "os_image": text("Debian GNU/Linux 12 (bookworm)"), "kubelet_version": text("v1.36.3"),
			"container_runtime_version": text("containerd://2.2.3"), "labels": text(`{"kubernetes.io/arch":"amd64","kubernetes.io/os":"linux"}`),
			"cpu_allocatable_milli": "4000", "memory_allocatable_bytes": "8326881280", "ephemeral_storage_allocatable": "50306195456", "source": text("byon"),
			"last_seen_at": "NOW", "ready_at": "NOW", "created_at": "NOW", "updated_at": "NOW",
			"search_text": nodeName + " || " + separator + " || '10.1.' || i % 250 || '.' || i % 199",
		}, "NOT "+deleted(cluster)),
		f.rows("node_events", f.nodeEvents, map[string]string{
			"id": f.id("nevt", "i"), "cluster_id": f.id("cl", nodesCluster), "owner_user_id": f.ownerOf(nodesCluster), "node_id": f.id("node", node),
			"node_name": "'worker-' || " + node, "type": "CASE WHEN i < 5 THEN 'deleted' WHEN i % 2 = 0 THEN 'ready' ELSE 'not_ready' END",
			"old_status": text("ready"), "new_status": text("not_ready"), "message": text("Node condition Ready changed to False."), "observed_at": "NOW",
		}, "true"),
		f.rows("audit_events", f.audits, map[string]string{
			"id": f.id("aud", "i"), "occurred_at": "NOW",
			"actor_user_id": f.id("usr", fmt.Sprintf("(CASE WHEN i %% 5 = 0 THEN 0 WHEN i %% 7 = 0 THEN 1 ELSE 2 + i %% %d END)", f.users-2)),
			"actor_type":    text("user"), "actor_method": text("session"), "resource_id": f.id("node", "i"), "result": text("success"),
			"resource_type": "CASE WHEN i < 5 THEN 'api_key' WHEN i % 11 < 6 THEN 'node' WHEN i % 11 < 8 THEN 'cluster' WHEN i % 11 = 8 THEN 'session' ELSE 'token' END",
			"action":        "CASE WHEN i < 5 THEN 'revoke' WHEN i % 11 < 3 THEN 'cordon' WHEN i % 11 < 6 THEN 'uncordon' WHEN i % 11 < 8 THEN 'update' WHEN i % 11 = 8 THEN 'login' ELSE 'revoke' END",
			"security":      "i < 5 OR i % 11 >= 8", "message": text("Cordoned the node worker-1 of the cluster demo."),
			"cluster_id": f.id("cl", fmt.Sprintf("i %% %d", f.clusters)), "cluster_name": text("demo"), "node_name": text("worker-1"),
		}, "true"),
		f.rows("operations", f.clusters*3, map[string]string{
			"id": f.id("op", "i"), "cluster_id": f.id("cl", fmt.Sprintf("i %% %d", f.clusters)), "type": text("create"), "status": text("succeeded"), "stage": text(""),
			"error_message": text(""), "generation": "1", "created_at": "NOW", "updated_at": "NOW",
		}, "true"),
		f.rows("jobs", f.clusters*3, map[string]string{
			"id": f.id("job", "i"), "cluster_id": f.id("cl", fmt.Sprintf("i %% %d", f.clusters)), "operation_id": f.id("op", "i"), "type": text("create"),
			"status":        fmt.Sprintf("CASE WHEN i >= %d THEN 'pending' WHEN i >= %d THEN 'running' WHEN i %% 1000 = 7 THEN 'failed' ELSE 'succeeded' END", f.clusters*3-20, f.clusters*3-30),
			"attempt_count": "1", "not_before": "NOW", "leased_until": "NOW", "worker_id": text("w"), "last_error": text(""), "created_at": "NOW", "updated_at": "NOW",
		}, "true"),
		f.rows("tokens", f.clusters*2, map[string]string{
			"id": f.id("tok", "i"), "cluster_id": f.id("cl", fmt.Sprintf("i %% %d", f.clusters)), "value_hash": "CAST('t' || i AS BYTES)", "display_prefix": text("x"),
			"bootstrap_id": "'b' || i", "bootstrap_secret_name": text(""), "status": text("used"), "claimed_node_name": "'worker-' || i", "claimed_key_hash": text("x"),
			"secret_in_tenant": "i % 100 = 0", "expires_at": "NOW", "created_at": "NOW", "version": "1",
		}, "true"),
		f.rows("sessions", f.users*5, map[string]string{
			"id": f.id("ses", "i"), "user_id": f.id("usr", fmt.Sprintf("i %% %d", f.users)), "token_hash": "CAST('s' || i AS BYTES)",
			"created_at": "NOW", "expires_at": "NOW", "ends_at": "NOW", "ip": text(""), "user_agent": text(""),
		}, "true"),
		f.rows("api_keys", f.users*5, map[string]string{
			"id": f.id("key", "i"), "user_id": f.id("usr", fmt.Sprintf("i %% %d", f.users)), "name": text(""), "display_prefix": text(""),
			"value_hash": "CAST('k' || i AS BYTES)", "created_at": "NOW",
		}, "true"),
		f.rows("outbox", f.clusters, map[string]string{
			"id": f.id("msg", "i"), "type": text("job"), "key": text(""), "at": "NOW", "body": "CAST('m' AS BYTES)",
		}, "true"),
		f.rows("replies", f.clusters, map[string]string{
			"user_id": f.id("usr", "i"), "operation": text("createCluster"), "key": "'k' || i", "request_hash": "CAST('h' AS BYTES)", "sealed": "CAST('h' AS BYTES)", "created_at": "NOW",
		}, "true"),
		// Of four clusters all that is kept, and of the others the last minutes.
		f.rows("control_plane_samples", 4*(24*60+29*24*4), map[string]string{
			"cluster_id": f.id("cl", "i % 4"), "at": f.minutesAgo("CASE WHEN i / 4 < 1440 THEN i / 4 ELSE 1455 + 15 * (i / 4 - 1440) END"),
			"resolution_seconds": "CASE WHEN i / 4 < 1440 THEN 60 ELSE 900 END", "measurements": "CASE WHEN i / 4 < 1440 THEN 1 ELSE 15 END",
			"cpu_milli": "i % 500", "memory_mib": "300", "pods_ready": "1", "pods_total": "1",
		}, "true"),
		f.rows("control_plane_samples", f.clusters*3, map[string]string{
			"cluster_id": f.id("cl", "i / 3"), "at": f.minutesAgo("i % 3"), "resolution_seconds": "60", "measurements": "1",
			"cpu_milli": "i % 500", "memory_mib": "300", "pods_ready": "1", "pods_total": "1",
		}, "i / 3 >= 4"),
		f.rows("leases", f.clusters, map[string]string{"name": "'watch/' || i", "holder": text("p"), "held_until": "NOW"}, "true"),
	}
}
