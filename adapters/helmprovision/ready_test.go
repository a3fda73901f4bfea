package helmprovision

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// chartRole reads one of the ClusterRoles of KubeBYON's own chart, with all that
// an option would add to it.
func chartRole(t *testing.T, name string) []rbacv1.PolicyRule {
	t.Helper()
	text, err := os.ReadFile("../../deploy/chart/kubebyon/templates/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain := regexp.MustCompile(`(?m)^\s*\{\{.*\}\}\s*$`).ReplaceAllString(string(text), "")
	plain = regexp.MustCompile(`\{\{.*?\}\}`).ReplaceAllString(plain, "x")
	for part := range strings.SplitSeq(plain, "\n---\n") {
		var role rbacv1.ClusterRole
		if !strings.Contains(part, "kind: ClusterRole\n") {
			continue
		}
		if err := yaml.Unmarshal([]byte(part), &role); err != nil {
			t.Fatal(err)
		}
		if role.Name == "x:"+name {
			return role.Rules
		}
	}
	t.Fatalf("the chart has no ClusterRole %s", name)
	return nil
}

// TestTheChartsRolesHoldWhatIsAskedFor, and what they hold besides is known here.
func TestTheChartsRolesHoldWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	reader := chartRole(t, "reader")
	for name, of := range map[string]struct {
		config Config
		rules  []rbacv1.PolicyRule
		unused string // for what a chart's values may ask for, to say more, or held only to be granted
	}{
		"who only looks": {Config{LookOnly: true, KubeconfigPath: "x"}, reader, "pods/log events pods.metrics.k8s.io"},
		"who does the jobs": {Config{}, slices.Concat(reader, chartRole(t, "provisioner")), "pods/log events pods.metrics.k8s.io configmaps resourcequotas limitranges " +
			"networkpolicies.networking.k8s.io poddisruptionbudgets.policy endpoints endpointslices.discovery.k8s.io events.events.k8s.io replicasets.apps pods/resize " +
			"pods/attach pods/portforward pods/exec pods/status pods/ephemeralcontainers"},
	} {
		asked := of.config.rights()
		for _, r := range asked {
			if !slices.ContainsFunc(of.rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.APIGroups, r.Group) && slices.Contains(rule.Resources, r.Resource) && slices.Contains(rule.Verbs, r.Verb)
			}) {
				t.Errorf("%s: the chart's roles lack the right to %s", name, right(r.Verb, r.Resource, r.Group))
			}
		}
		for _, rule := range of.rules {
			for _, resource := range rule.Resources {
				for _, group := range rule.APIGroups {
					isAsked := slices.ContainsFunc(asked, func(r authorizationv1.ResourceAttributes) bool { return r.Resource == resource && r.Group == group })
					if named := strings.TrimSpace(right("", resource, group)); !isAsked && !slices.Contains(strings.Fields(of.unused), named) {
						t.Errorf("%s: the chart's roles have rights to %s, which nobody asks for", name, named)
					}
				}
			}
		}
	}
}

// TestOnlyTheRightsThatAreMissingAreAskedForAgain: an answer is kept, whatever
// becomes of the other questions.
func TestOnlyTheRightsThatAreMissingAreAskedForAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	questions, broken, allowed := 0, "leases", true
	h := hostAt(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		questions++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		said, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil) // not JSON
		review, ok := said.(*authorizationv1.SelfSubjectAccessReview)
		if !ok {
			t.Errorf("asked %T, %v", said, err)
			return
		}
		review.APIVersion, review.Kind = "authorization.k8s.io/v1", "SelfSubjectAccessReview"
		if review.Spec.ResourceAttributes.Resource == broken {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		review.Status.Allowed = allowed || review.Spec.ResourceAttributes.Resource != "ingresses"
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	c := bare(t)
	now := time.Now()
	c.Now = func() time.Time { return now }
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	p.host = h
	asks := func() (int, error) {
		err := p.checkRights(t.Context())
		mu.Lock()
		defer mu.Unlock()
		n := questions
		questions = 0
		return n, err
	}
	n, err := asks()
	if fault.CodeOf(err) != "host_unreachable" || n < len(c.rights()) {
		t.Errorf("at first there are %d questions, %v", n, err)
	}
	broken = ""
	if n, err := asks(); n != 4 || err != nil {
		t.Errorf("then there are %d questions, want 4, %v", n, err)
	}
	if n, err := asks(); n != 0 || err != nil {
		t.Errorf("with all rights there are %d questions, %v", n, err)
	}
	now, allowed = now.Add(2*freshFor), false
	_, err = asks()
	refused(t, err, fault.Unavailable, "host_forbidden", "create ingresses.networking.k8s.io")
	if n, _ := asks(); n != 4 {
		t.Errorf("for what is missing there are %d questions, want 4", n)
	}
}
