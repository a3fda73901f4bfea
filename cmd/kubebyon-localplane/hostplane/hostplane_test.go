package hostplane

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestBehavioursAreUnderstoodOrRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]behaviour{
		"slow=10s": {word: slow, delay: 10 * time.Second}, "crash": {word: crash}, "crash=2": {word: crash, times: 2},
		"never": {word: never}, "image-pull-error": {word: imagePullError}, "no-licence": {word: noLicence},
		"no-secret": {word: noSecret}, "bad-secret": {word: badSecret}, "": {},
	} {
		if got, err := parseBehaviour(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"slow", "slow=long", "slow=-1s", "crash=often", "crash=-1", "never=1", "explode"} {
		if got, err := parseBehaviour(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestThePodsWordCountsBeforeItsNamespacesAndTheRules(t *testing.T) {
	t.Parallel()
	rule, err := ParseRule("a-*=never")
	if err != nil {
		t.Fatal(err)
	}
	says := func(text string) map[string]string { return map[string]string{behaveAnnotation: text} }
	for _, c := range []struct {
		release        string
		pod, namespace map[string]string
		want           word
	}{
		{"a-b", says("crash"), says("no-secret"), crash},
		{"a-b", nil, says("no-secret"), noSecret},
		{"a-b", says(""), nil, wellBehaved},
		{"a-b", nil, nil, never},
		{"b", nil, nil, wellBehaved},
	} {
		if got, err := behaves(c.release, c.pod, c.namespace, []Rule{rule}); err != nil || got.word != c.want {
			t.Errorf("%+v: %q, %v", c, got.word, err)
		}
	}
	for _, text := range []string{"", "a", "=crash", "[=crash", "a=explode"} {
		if _, err := ParseRule(text); err == nil {
			t.Errorf("%q is a rule", text)
		}
	}
}

func TestAnyPatchOfAnOfferedMinorIsThatMinor(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{"v1.35.7": "v1.35.0", "1.34.1": "v1.34.0", "v1.33": "v1.33.0"} {
		var v chartValues
		v.ControlPlane.Distro.K8S.Version = asked
		if got, err := v.version(); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", asked, got, err, want)
		}
	}
	for _, asked := range []string{"v1.20.0", "v2", "rubbish"} {
		var v chartValues
		v.ControlPlane.Distro.K8S.Version = asked
		if got, err := v.version(); err == nil {
			t.Errorf("%s is %s", asked, got)
		}
	}
}

func TestTheValuesSayWhereTheTenantIs(t *testing.T) {
	t.Parallel()
	v, err := parseValues([]byte(`
controlPlane:
  endpoint: cp.example.org:31000
  proxy: {extraSANs: [old.example.org]}
  ingress: {enabled: true, host: in.example.org}
exportKubeConfig: {server: "https://cp.example.org:31000"}
`))
	if err != nil {
		t.Fatal(err)
	}
	if v.public() != "cp.example.org:31000" || v.server() != "https://cp.example.org:31000" {
		t.Errorf("public %s, server %s", v.public(), v.server())
	}
	if want := []string{"old.example.org", "in.example.org", "cp.example.org"}; !slices.Equal(v.names(), want) {
		t.Errorf("names %v, want %v", v.names(), want)
	}
	if v, err = parseValues([]byte(`exportKubeConfig: {server: "https://lb.example.org"}`)); err != nil || v.public() != "lb.example.org:443" {
		t.Errorf("public %s, %v", v.public(), err)
	}
	if v, err = parseValues(nil); err != nil || v.public() != "" || v.server() != defaultServer || v.podCIDR() != defaultPodCIDR {
		t.Errorf("nothing said: public %q, server %s, %v", v.public(), v.server(), err)
	}
	if _, err := parseValues([]byte("controlPlane: [")); err == nil {
		t.Error("half a document is a configuration")
	}
}

func TestAHostsAddressesDoNotOverlap(t *testing.T) {
	t.Parallel()
	for range 100 {
		s := settings{Addresses: randomRealm()}
		services := s.clusterIPs()
		all := []netip.Addr{s.balancerIP(0), s.balancerIP(balancers - 1), s.own(), s.claim()}
		for i, a := range all {
			if !a.IsLoopback() || !s.Addresses.Contains(a) || services.Contains(a) || slices.Contains(all[:i], a) {
				t.Fatalf("%v of %v", a, s.Addresses)
			}
		}
		if !s.Addresses.Contains(services.Addr()) || s.Addresses.Masked() != s.Addresses {
			t.Fatalf("Services %v of %v", services, s.Addresses)
		}
	}
}

func TestPodsHaveAddressesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for n := range 2000 {
		ip := podIP(n)
		if seen[ip] || podNumber(ip) != n {
			t.Fatalf("%d has %s, which is %d's", n, ip, podNumber(ip))
		}
		seen[ip] = true
	}
}
