package helmprovision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"helm.sh/helm/v3/pkg/chart"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// rights are those without which no cluster comes or goes, or none is seen, on
// the whole host. The roles of KubeBYON's own chart hold them.
func (c Config) rights() []authorizationv1.ResourceAttributes {
	var out []authorizationv1.ResourceAttributes
	add := func(group string, verbs []string, resources ...string) {
		for _, resource := range resources {
			for _, verb := range verbs {
				out = append(out, authorizationv1.ResourceAttributes{Group: group, Resource: resource, Verb: verb})
			}
		}
	}
	seen, made := []string{"list", "watch"}, []string{"get", "create", "patch", "delete"}
	add("", seen, "namespaces", "secrets", "services", "pods")
	add("apps", seen, "statefulsets", "deployments")
	if c.KubeconfigPath != "" || c.PublicHost == "" && !c.LookOnly {
		add("", []string{"list"}, "nodes")
	}
	if c.LookOnly {
		return out
	}
	add("", made, "namespaces", "secrets", "services", "serviceaccounts")
	add("", []string{"update"}, "secrets") // Helm's releases
	add("", []string{"delete"}, "pods")
	add("", []string{"list", "delete"}, "persistentvolumeclaims")
	add("apps", made, "statefulsets", "deployments")
	add("rbac.authorization.k8s.io", made, "roles", "rolebindings")
	add("networking.k8s.io", made, "ingresses")
	add("coordination.k8s.io", []string{"get", "create", "update", "delete"}, "leases")
	return out
}

// Ping says whether clusters can be provisioned, and if not, what an operator has
// to mend: the host, a right, the chart, the file of values. Of a process that
// only looks it says whether that sees anything.
func (p *Provisioner) Ping(ctx context.Context) error {
	if err := p.alive(); err != nil {
		return err
	}
	if err := p.window.await(ctx, patience); err != nil {
		return err
	}
	if err := p.checkRights(ctx); err != nil || p.config.LookOnly {
		return err
	}
	return p.rehearse(ctx)
}

// rehearse has the chart judge the values of a control plane that nobody has asked
// for. The file of values is read each time: once it is mended, all is well.
func (p *Provisioner) rehearse(ctx context.Context) error {
	file, err := readValues(p.config.ValuesFile)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, patience) // who looks is to hear that it is being fetched
	defer cancel()
	if _, err := p.shelf.locate(short); err != nil {
		return err
	}
	text, err := json.Marshal(file)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	key := "rehearsal/" + hex.EncodeToString(sum[:])
	if p.recall.fresh(key) {
		return nil
	}
	load := func() (*chart.Chart, error) { return p.shelf.take(ctx) }
	w := provision.Want{Name: "rehearsal", KubernetesVersion: p.config.Versions[0].Name, Public: true, PublicMode: provision.NodePort}
	a := access{Host: "unknown.invalid", Port: 1}
	if err := p.config.blame(p.config.try(load, file, w, a), load, file, w, a); err != nil {
		return err
	}
	p.recall.keep(key, "")
	return nil
}

// CheckFiles refuses what is on this machine and cannot be used: a kubeconfig that
// is none, a file of values that holds none, and, for a process that makes control
// planes, a chart that is not there. It asks nobody elsewhere.
func (p *Provisioner) CheckFiles(ctx context.Context) error {
	if p.config.KubeconfigPath != "" {
		if err := checkKubeconfig(p.config.KubeconfigPath); err != nil {
			return err
		}
	}
	_, err := readValues(p.config.ValuesFile)
	if err == nil && !p.config.LookOnly && p.shelf.isLocal() {
		_, err = p.shelf.take(ctx)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return errors.New(f.Msg)
	}
	return err
}

// Questions for rights that are under way at once.
const rightsAtOnce = 8

// checkRights asks the host which rights are missing. What it once had is not asked
// for again for a while, whatever became of the other questions.
func (p *Provisioner) checkRights(ctx context.Context) error {
	all := p.config.rights()
	errs, denied := make([]error, len(all)), make([]bool, len(all))
	var asking sync.WaitGroup
	slots := make(chan struct{}, rightsAtOnce)
	for i, r := range all {
		if p.recall.fresh(rightKey(r)) {
			continue
		}
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			denied[i], errs[i] = p.lacks(ctx, r)
		})
	}
	asking.Wait()
	var missing []string
	for i, r := range all {
		if denied[i] {
			missing = append(missing, right(r.Verb, r.Resource, r.Group))
		}
	}
	if len(missing) > 0 {
		return fault.Unavailable.New("host_forbidden", "On the host cluster KubeBYON lacks the right to %s. Give its account this.", clause(strings.Join(missing, ", ")))
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return told(errs[i], "ask for its rights")
	}
	return nil
}

func rightKey(r authorizationv1.ResourceAttributes) string {
	return "right/" + right(r.Verb, r.Resource, r.Group)
}

func (p *Provisioner) lacks(ctx context.Context, r authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &r}}
	answer, err := p.host.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	if answer.Status.Allowed {
		p.recall.keep(rightKey(r), "")
	}
	return !answer.Status.Allowed, nil
}
