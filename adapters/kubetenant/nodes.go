package kubetenant

import (
	"context"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// SetUnschedulable cordons or uncordons a node.
func (t *cluster) SetUnschedulable(ctx context.Context, node string, unschedulable bool) (out tenant.Node, err error) {
	err = t.onNode(ctx, "set unschedulable", node, func(ctx context.Context) error {
		patch := `{"spec":{"unschedulable":` + strconv.FormatBool(unschedulable) + `}}`
		n, err := t.core.Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: fieldManager})
		if err == nil {
			out = nodeOf(n)
		}
		return err
	})
	return out, err
}

// DeleteNode removes the Node object; the machine may register again.
func (t *cluster) DeleteNode(ctx context.Context, node string) error {
	return t.onNode(ctx, "delete node", node, func(ctx context.Context) error {
		return t.core.Nodes().Delete(ctx, node, metav1.DeleteOptions{})
	})
}

// Node reads a node.
func (t *cluster) Node(ctx context.Context, name string) (out tenant.Node, err error) {
	err = t.onNode(ctx, "read node", name, func(ctx context.Context) error {
		n, err := t.core.Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			out = nodeOf(n)
		}
		return err
	})
	return out, err
}

// onNode is call for requests about one node.
func (t *cluster) onNode(ctx context.Context, step, name string, request func(context.Context) error) error {
	if !isNodeName(name) {
		return nodeNotFound()
	}
	return t.call(ctx, step, func(ctx context.Context) error {
		err := request(ctx)
		// What is no API server answers 404 as well, but not in its words.
		if apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err) {
			return nodeNotFound().Because(err)
		}
		return err
	})
}

func nodeNotFound() *fault.Error {
	return fault.NotFound.New("node_not_found", "The cluster has no node of this name.")
}
