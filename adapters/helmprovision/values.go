package helmprovision

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// access is where a control plane is published.
type access struct {
	Host     string // empty: not known yet
	Port     int
	NodePort int      // of the Service, when it has one
	Near     []string // names and addresses of the platform's own way
}

func (a access) endpoint() string {
	if a.Host == "" {
		return ""
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

func (a access) url() string { return "https://" + a.endpoint() }

// serviceType is what the chart's Service has to be.
func serviceType(w provision.Want) string {
	switch {
	case w.Public && w.PublicMode == provision.NodePort:
		return "NodePort"
	case w.Public && w.PublicMode == provision.LoadBalancer:
		return "LoadBalancer"
	}
	return "ClusterIP"
}

// checkAccess refuses ways to publish a control plane that cannot lead to it.
func checkAccess(w provision.Want) error {
	if !w.Public {
		return nil
	}
	var c fault.Check
	switch w.PublicMode {
	case provision.NodePort, provision.LoadBalancer:
	case provision.Ingress:
		c.That(w.HasIngressName(), "control_plane_host", "must be a DNS name that leads to the host cluster's ingress when public_access_mode is ingress")
	default:
		c.That(false, "public_access_mode", "must be nodeport, loadbalancer or ingress")
	}
	return c.Err()
}

// Marks on what belongs to KubeBYON on the host cluster.
const (
	managedBy    = "app.kubernetes.io/managed-by"
	managedName  = "kubebyon"
	labelCluster = "kubebyon.io/cluster"

	noteHash      = "kubebyon.io/hash"               // of what has been applied; also on workload and pods
	noteEndpoint  = "kubebyon.io/endpoint"           // "host:port", where it is to be published
	noteInEffect  = "kubebyon.io/endpoint-in-effect" // where it is published until what has the hash is installed
	noteNodePort  = "kubebyon.io/node-port"          // for life
	noteHosts     = "kubebyon.io/hosts"              // that it was ever published under
	noteWant      = "kubebyon.io/want"               // as JSON
	noteTried     = "kubebyon.io/tried"              // when somebody last asked for it
	noteGivenUp   = "kubebyon.io/given-up"           // UIDs of what had failed when somebody tried again
	noteCondemned = "kubebyon.io/condemned"          // since when it is being removed
	noteExisted   = "kubebyon.io/authority"          // a digest of the certificate authority, once it was ready
	noteVolumes   = "kubebyon.io/volumes"            // UIDs of the claims that it had then
)

// planned is what the chart is to be installed with.
type planned struct {
	values map[string]any
	hash   string
}

// plan merges the operator's values under those that want and access ask for.
// They come with a hash that tells a change from a repetition.
func (c Config) plan(ch *chart.Chart, file map[string]any, w provision.Want, a access) (planned, error) {
	values, err := c.merge(ch, file, w, a)
	if err != nil {
		return planned{}, c.misfit(err)
	}
	hash := digest(ch, values)
	mark := map[string]any{noteHash: hash}
	err = overlay(values, map[string]any{"controlPlane": map[string]any{"statefulSet": map[string]any{
		"annotations": mark, "pods": map[string]any{"annotations": mark},
	}}})
	return planned{values, hash}, c.misfit(err)
}

// misfit tells who wrote the file of values what is wrong with it.
func (c Config) misfit(err error) error {
	if m, ok := errors.AsType[mistyped](err); ok {
		return badValuesFile(c.ValuesFile, "is wrong: %s", m.Error())
	}
	return err
}

func digest(ch *chart.Chart, values map[string]any) string {
	text, _ := json.Marshal(values) //nolint:errchkjson // it came from YAML
	sum := sha256.Sum256([]byte(ch.Name() + " " + ch.Metadata.Version + "\n" + string(text)))
	return hex.EncodeToString(sum[:12])
}

func (c Config) merge(ch *chart.Chart, file map[string]any, w provision.Want, a access) (map[string]any, error) {
	values, err := clone(file)
	if err != nil {
		return nil, err
	}
	over := []map[string]any{{
		"controlPlane": map[string]any{
			"distro":      map[string]any{"k8s": map[string]any{"version": w.KubernetesVersion}},
			"service":     map[string]any{"enabled": true, "httpsNodePort": a.NodePort, "spec": map[string]any{"type": serviceType(w)}},
			"ingress":     ingressValues(w),
			"proxy":       map[string]any{"extraSANs": sans(values, w, a)},
			"statefulSet": map[string]any{"resources": map[string]any{"requests": requests(w)}},
		},
		"telemetry": map[string]any{"enabled": false},
	}}
	if a.Host != "" {
		over = append(over, map[string]any{"exportKubeConfig": map[string]any{"server": a.url()}})
	}
	if !c.SharedNodes {
		over = append(over, map[string]any{"privateNodes": map[string]any{"enabled": true}})
	}
	if c.LicenceSecret != "" {
		over = append(over, map[string]any{"platform": map[string]any{"apiKey": licence(c.LicenceSecret)}})
	}
	if err := overlays(values, over...); err != nil {
		return nil, err
	}
	return values, fit(ch, values, w, a)
}

// fit sets what depends on the chart's own values.
func fit(ch *chart.Chart, values map[string]any, w provision.Want, a access) error {
	copied, err := clone(values)
	if err != nil {
		return err
	}
	all, err := chartutil.CoalesceValues(ch, copied)
	if err != nil {
		return refusal{err}
	}
	var over []map[string]any
	// vCluster knows an endpoint only where it has nodes of its own.
	if setting(all, "privateNodes", "enabled") == true && a.Host != "" {
		over = append(over, map[string]any{"controlPlane": map[string]any{"endpoint": a.endpoint()}})
	}
	limit, err := resource.ParseQuantity(settingText(all, "controlPlane", "statefulSet", "resources", "limits", "memory"))
	asked := resource.MustParse(memoryOf(w))
	if err == nil && asked.Cmp(limit) > 0 {
		over = append(over, map[string]any{"controlPlane": map[string]any{"statefulSet": map[string]any{"resources": map[string]any{
			"limits": map[string]any{"memory": memoryOf(w)},
		}}}})
	}
	cpu, err := resource.ParseQuantity(settingText(all, "controlPlane", "statefulSet", "resources", "limits", "cpu"))
	askedCPU := resource.MustParse(processorOf(w))
	if err == nil && askedCPU.Cmp(cpu) > 0 {
		over = append(over, map[string]any{"controlPlane": map[string]any{"statefulSet": map[string]any{"resources": map[string]any{
			"limits": map[string]any{"cpu": processorOf(w)},
		}}}})
	}
	return overlays(values, over...)
}

func memoryOf(w provision.Want) string { return strconv.FormatInt(w.MemoryRequestMiB, 10) + "Mi" }

func processorOf(w provision.Want) string { return strconv.FormatInt(w.CPURequestMilli, 10) + "m" }

// requests leave out what is not asked for: the chart has its own.
func requests(w provision.Want) map[string]any {
	out := map[string]any{}
	if w.CPURequestMilli > 0 {
		out["cpu"] = processorOf(w)
	}
	if w.MemoryRequestMiB > 0 {
		out["memory"] = memoryOf(w)
	}
	return out
}

func ingressValues(w provision.Want) map[string]any {
	if w.Public && w.PublicMode == provision.Ingress {
		return map[string]any{"enabled": true, "host": w.Host}
	}
	return map[string]any{"enabled": false}
}

// sans are all names under which somebody may know the control plane: the
// operator's, the one it is published under, those that it was published under
// when nodes joined, and the platform's own.
func sans(file map[string]any, w provision.Want, a access) []any {
	var names []string
	if own, ok := setting(file, "controlPlane", "proxy", "extraSANs").([]any); ok {
		for _, n := range own {
			names = append(names, fmt.Sprint(n))
		}
	}
	names = append(append(append(names, a.Host, w.Host), w.FormerHosts...), a.Near...)
	names = append(names, w.Name+"."+w.Name, w.Name+"."+w.Name+".svc")
	var out []any
	for i, n := range names {
		if n != "" && !slices.Contains(names[:i], n) {
			out = append(out, n)
		}
	}
	return out
}

func licence(secret string) map[string]any {
	if namespace, name, ok := strings.Cut(secret, "/"); ok {
		return map[string]any{"secretName": name, "namespace": namespace}
	}
	return map[string]any{"secretName": secret}
}

// overlay lets what is in over win over what is in values, unless that is of another
// type: who wrote it meant something else than what over says, and would never hear
// of it. At is where both are.
func overlay(values, over map[string]any, at ...string) error {
	for _, name := range slices.Sorted(maps.Keys(over)) {
		v, here := over[name], append(slices.Clone(at), name)
		if kind := kindOf(v); values[name] != nil && !kind.fits(values[name]) {
			return mistyped{strings.Join(here, "."), kind}
		}
		table, isTable := v.(map[string]any)
		if !isTable {
			values[name] = v
			continue
		}
		below, ok := values[name].(map[string]any)
		if !ok {
			below = map[string]any{}
			values[name] = below
		}
		if err := overlay(below, table, here...); err != nil {
			return err
		}
	}
	return nil
}

// overlays is overlay with one after another.
func overlays(values map[string]any, over ...map[string]any) error {
	for _, o := range over {
		if err := overlay(values, o); err != nil {
			return err
		}
	}
	return nil
}

// kind is what a value has to be, in words.
type kind string

const (
	isObject kind = "an object"
	isList   kind = "a list"
	isBool   kind = "true or false"
	isNumber kind = "a number"
	isText   kind = "a text or a number" // that YAML tells apart, and Helm does not always
)

func kindOf(v any) kind {
	switch v.(type) {
	case map[string]any:
		return isObject
	case []any:
		return isList
	case bool:
		return isBool
	case int, float64:
		return isNumber
	}
	return isText
}

func (k kind) fits(v any) bool {
	is := kindOf(v)
	return is == k || k == isText && is == isNumber
}

// mistyped is a value of the operator's that is of another type than KubeBYON's at
// its place.
type mistyped struct {
	at   string
	kind kind
}

func (m mistyped) Error() string { return m.at + " must be " + string(m.kind) }

// clone copies values, which Helm and overlay change.
func clone(values map[string]any) (map[string]any, error) {
	text, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("copy values: %w", err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("copy values: %w", err)
	}
	if out == nil { // of nothing
		out = map[string]any{}
	}
	return out, nil
}
