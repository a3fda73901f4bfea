package helmprovision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/kubebyon/kubebyon/ports/provision"
)

const (
	// Revisions of a release that Helm keeps.
	maxHistory = 3
	// Helm's own bound for the hooks of a chart, if it has any.
	hookTimeout = 2 * time.Minute
)

// helm prepares Helm to read what it knows of one namespace.
func (p *Provisioner) helm(namespace string) (*action.Configuration, error) {
	return p.helmHolding(nil, namespace)
}

// helmHolding prepares Helm for one namespace. It gets no further than the lease.
func (p *Provisioner) helmHolding(g *grip, namespace string) (*action.Configuration, error) {
	c := new(action.Configuration)
	log := func(format string, args ...any) {
		p.config.Log.Debug("helm", "namespace", namespace, "says", fmt.Sprintf(format, args...))
	}
	if err := c.Init(lender{p.host, namespace, g}, namespace, "secret", log); err != nil {
		return nil, err
	}
	c.Releases.MaxHistory = maxHistory
	caps, err := p.capabilities()
	if err != nil {
		return nil, err
	}
	c.Capabilities = caps
	return c, nil
}

// capabilities are what the host cluster offers to the chart's templates.
func (p *Provisioner) capabilities() (*chartutil.Capabilities, error) {
	version, err := p.host.discover.ServerVersion()
	if err != nil {
		return nil, err
	}
	apis, err := action.GetVersionSet(p.host.discover)
	if err != nil {
		return nil, err
	}
	return &chartutil.Capabilities{
		APIVersions: apis,
		KubeVersion: chartutil.KubeVersion{Version: version.GitVersion, Major: version.Major, Minor: version.Minor},
		HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
	}, nil
}

// isInstalled reports whether Helm has installed this very plan, and it is still
// there.
func (p *Provisioner) isInstalled(ctx context.Context, want provision.Want, hash string) bool {
	if !p.runs(ctx, want, hash) {
		return false
	}
	c, err := p.helm(want.Name)
	if err != nil {
		return false
	}
	last, err := c.Releases.Last(want.Name)
	return err == nil && last.Info.Status == release.StatusDeployed && last.Info.Description == hash
}

// runs looks for the workload, and asks the host when it has not been seen yet.
func (p *Provisioner) runs(ctx context.Context, want provision.Want, hash string) bool {
	if work := p.window.scene(want.ID).workload(); work != nil && work.GetAnnotations()[noteHash] == hash {
		return true
	}
	apps := p.host.client.AppsV1()
	if set, err := apps.StatefulSets(want.Name).Get(ctx, want.Name, metav1.GetOptions{}); err == nil {
		return set.Annotations[noteHash] == hash
	}
	deployed, err := apps.Deployments(want.Name).Get(ctx, want.Name, metav1.GetOptions{})
	return err == nil && deployed.Annotations[noteHash] == hash
}

// release installs or upgrades. What an interrupted operation left is gone on
// with: nothing is removed that holds data.
func (p *Provisioner) release(g *grip, name string, ch *chart.Chart, plan planned) error {
	c, err := p.helmHolding(g, name)
	if err != nil {
		return err
	}
	last, err := c.Releases.Last(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return p.install(c, name, ch, plan, false)
	}
	if err != nil {
		return fmt.Errorf("read the release: %w", err)
	}
	switch last.Info.Status {
	case release.StatusUninstalled:
		return p.install(c, name, ch, plan, true)
	case release.StatusPendingInstall, release.StatusPendingUpgrade, release.StatusPendingRollback, release.StatusUninstalling, release.StatusUnknown:
		// Whoever began this is dead: the lease is ours.
		last.SetStatus(release.StatusFailed, "Interrupted")
		if err := c.Releases.Update(last); err != nil {
			return fmt.Errorf("mark the interrupted release: %w", err)
		}
	case release.StatusDeployed, release.StatusFailed, release.StatusSuperseded:
	}
	made, err := p.upgrade(c, name, ch, plan)
	if made == nil {
		return err
	}
	if left := sweep(c, made, err == nil); left != nil && err == nil {
		made.SetStatus(release.StatusFailed, "Left behind what earlier revisions made") // so that it is tried again
		return errors.Join(left, c.Releases.Update(made))
	}
	return err
}

// sweep removes what revisions that failed have made and target has not: Helm
// itself compares with the last revision that succeeded only. While target has
// failed as well, what that one has is kept.
func sweep(c *action.Configuration, target *release.Release, isDone bool) error {
	all, err := c.Releases.History(target.Name)
	if err != nil {
		return fmt.Errorf("read the release's history: %w", err)
	}
	kept, err := c.KubeClient.Build(strings.NewReader(target.Manifest), false)
	if err != nil {
		return fmt.Errorf("read the release's manifest: %w", err)
	}
	var left kube.ResourceList
	for _, r := range all {
		if r.Version >= target.Version || r.Info.Status != release.StatusFailed && (isDone || r.Info.Status != release.StatusDeployed) {
			continue
		}
		objects, err := c.KubeClient.Build(strings.NewReader(r.Manifest), false)
		if err != nil {
			return fmt.Errorf("read an earlier manifest: %w", err)
		}
		if r.Info.Status == release.StatusDeployed {
			kept = append(kept, objects...)
			continue
		}
		left = append(left, objects...)
	}
	left = left.Difference(kept).Filter(func(i *resource.Info) bool { return isLeft(i, target) })
	if len(left) == 0 {
		return nil
	}
	_, errs := c.KubeClient.Delete(left)
	return errors.Join(errs...)
}

// isLeft reports whether an object is there, is the release's, and holds no data.
func isLeft(i *resource.Info, r *release.Release) bool {
	if i.Mapping.GroupVersionKind.Kind == "PersistentVolumeClaim" || i.Get() != nil {
		return false
	}
	m, err := meta.Accessor(i.Object)
	if err != nil {
		return false
	}
	notes := m.GetAnnotations()
	return notes["meta.helm.sh/release-name"] == r.Name && notes["meta.helm.sh/release-namespace"] == r.Namespace && notes[kube.ResourcePolicyAnno] != kube.KeepPolicy
}

func (p *Provisioner) install(c *action.Configuration, name string, ch *chart.Chart, plan planned, again bool) error {
	op := action.NewInstall(c)
	op.ReleaseName, op.Namespace, op.Description, op.Replace, op.Timeout = name, name, plan.hash, again, hookTimeout
	op.SkipSchemaValidation, op.DisableOpenAPIValidation = true, true // judged before, and judged by the host
	_, err := op.RunWithContext(context.Background(), ch, plan.values)
	return err
}

func (p *Provisioner) upgrade(c *action.Configuration, name string, ch *chart.Chart, plan planned) (*release.Release, error) {
	op := action.NewUpgrade(c)
	op.Namespace, op.Description, op.MaxHistory, op.ResetValues, op.Timeout = name, plan.hash, maxHistory, true, hookTimeout
	op.SkipSchemaValidation, op.DisableOpenAPIValidation = true, true
	return op.RunWithContext(context.Background(), name, ch, plan.values)
}

// uninstall removes the release, in whatever state it is.
func (p *Provisioner) uninstall(g *grip, name string) error {
	c, err := p.helmHolding(g, name)
	if err != nil {
		return err
	}
	op := action.NewUninstall(c)
	op.IgnoreNotFound, op.Timeout = true, hookTimeout
	_, err = op.Run(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil
	}
	return err
}
