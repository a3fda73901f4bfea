package planeprovision

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// TestMain lets the test binary stand in for kubebyon-localplane, and for a
// process that keeps planes and is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "versions":
			fmt.Println(`[{"version":"v1.36.3","emulated":false},{"version":"v1.35.0","emulated":true}]`)
			os.Exit(0)
		case "tenant":
			os.Exit(standIn(os.Args[2:]))
		case "parent":
			os.Exit(parent(os.Args[2], os.Args[3]))
		}
	}
	// The race detector's second of sleep at exit, for every stand-in.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}

// orders are what a test wants a stand-in to do, in a file beside Config.Dir
// named after the cluster, or after "all".
func orders(dir, name string) string { return filepath.Join(filepath.Dir(dir), "orders-"+name) }

// standIn is a control plane without Kubernetes: it listens, keeps a certificate
// authority and reports progress.
func standIn(args []string) int {
	flags := flag.NewFlagSet("tenant", flag.ContinueOnError)
	dir, port, name := flags.String("dir", "", ""), flags.Int("port", 0, ""), flags.String("name", "", "")
	host, fd := flags.String("host", "", ""), flags.Int("lifeline-fd", -1, "")
	flags.String("kubernetes-version", "", "")
	flags.Bool("unsafe-no-fsync", false, "")
	flags.Func("san", "", func(string) error { return nil })
	if err := flags.Parse(args); err != nil {
		return 2
	}
	planes := filepath.Dir(filepath.Dir(*dir))
	told, err := os.ReadFile(orders(planes, *name))
	if err != nil {
		told, _ = os.ReadFile(orders(planes, "all"))
	}
	order, rest, _ := strings.Cut(strings.TrimSpace(string(told)), " ")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if order == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(uintptr(*fd), "lifeline"))
		if order == "linger" { // and put things in order meanwhile
			time.Sleep(300 * time.Millisecond)
			_ = os.MkdirAll(filepath.Join(*dir, "late"), 0o700)
			time.Sleep(100 * time.Millisecond)
		}
		os.Exit(3)
	}()
	_ = os.WriteFile(filepath.Join(*dir, "arguments"), []byte(strings.Join(args, " ")), 0o600)
	_ = os.WriteFile(filepath.Join(*dir, "pipes"), []byte(strconv.Itoa(openPipes())), 0o600)
	_ = os.WriteFile(filepath.Join(*dir, "environment"), []byte(strings.Join(os.Environ(), "\n")), 0o600)
	starts, _ := os.OpenFile(filepath.Join(*dir, "starts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	fmt.Fprintln(starts, "start")
	starts.Close()
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	if err != nil {
		return fail("The port is taken")
	}
	defer l.Close()
	stage("etcd_ready")
	switch order {
	case "fail":
		return fail(rest)
	case "panic":
		fmt.Fprintf(os.Stderr, "%spanic: %s\n", strings.Repeat("noise ", 4000), rest)
		return 2
	case "hang":
		<-term
		return 0
	case "flood":
		fmt.Println(strings.Repeat("x", 1<<20))
		for range 10000 {
			fmt.Println(`{"stage":` + strings.Repeat(" ", 100))
		}
	case "slow":
		time.Sleep(150 * time.Millisecond)
	}
	stage("apiserver_ready")
	ca, err := os.ReadFile(filepath.Join(*dir, "ca"))
	if errors.Is(err, os.ErrNotExist) {
		ca = make([]byte, 48)
		_, _ = rand.Read(ca)
		_ = os.WriteFile(filepath.Join(*dir, "ca"), ca, 0o600)
	}
	config := fmt.Sprintf("clusters:\n- cluster:\n    certificate-authority-data: %s\n    server: https://%s\n  name: %s\n",
		base64.StdEncoding.EncodeToString(ca), net.JoinHostPort(*host, strconv.Itoa(*port)), *name)
	_ = os.WriteFile(filepath.Join(*dir, "admin.kubeconfig"), []byte(config), 0o600)
	stage("join_ready")
	stage("ready")
	if order == "crash" {
		return 1
	}
	<-term
	return 0
}

func stage(name string) { fmt.Printf("{\"stage\":%q,\"elapsed_ms\":1}\n", name) }

func fail(reason string) int {
	fmt.Printf("{\"stage\":\"failed\",\"reason\":%q}\n", reason)
	return 1
}

func openPipes() (n int) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}

// parent keeps three planes until it is killed. It prints their endpoints.
func parent(dir, binary string) int {
	c := config(dir)
	c.Binary, c.ReadyTimeout = binary, time.Minute
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	p, err := New(c)
	if err == nil {
		err = p.Start(context.Background())
	}
	for i := range byte(3) {
		want := wanted(i)
		if err == nil {
			err = p.Apply(context.Background(), want)
		}
		for o := (provision.Observed{}); err == nil && o.Phase != provision.Ready; {
			o, err = p.Await(context.Background(), want.ID, o)
			if err == nil && o.Phase == provision.Ready {
				fmt.Println(strings.TrimPrefix(o.Endpoint, "https://"))
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("all ready")
	select {}
}

func config(dir string) Config {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Config{
		Dir: dir, Binary: self, Log: slog.New(slog.DiscardHandler), Now: time.Now, PortFrom: 20000, PortTo: 29999,
		MaxStarting: 4, ReadyTimeout: 20 * time.Second, StopGrace: 5 * time.Second, UnsafeNoFsync: true,
	}
}

func wanted(n byte) provision.Want {
	var random [10]byte
	_, _ = rand.Read(random[:])
	return provision.Want{ID: id.New[id.ClusterKind](time.Now(), random), Name: fmt.Sprintf("c-%d-%x", n, random[:4]), KubernetesVersion: "v1.36.3"}
}
