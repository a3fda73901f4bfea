#!/bin/sh
# Takes this machine out of its KubeBYON cluster and removes what the join
# script installed: exactly what /var/lib/kubebyon/manifest lists. Files that it
# changed come back as they were, unless somebody has changed them since.
set -eu
umask 022

root=${KUBEBYON_ROOT:-}
root=${root%/}
state=$root/var/lib/kubebyon
manifest=$state/manifest
PATH=$PATH:$root/usr/local/sbin:$root/usr/local/bin:$root/usr/sbin:$root/usr/bin:$root/sbin:$root/bin
export PATH

say() { printf '%s\n' "$*" >&2; }

die() {
	say "Stopped: $1"
	say "What to do: $2"
	exit 1
}

main() {
	[ "$(id -u)" -eq 0 ] || die "This needs root." "Run it with sudo."
	if [ ! -e "$manifest" ]; then
		say "There is nothing to remove: $manifest does not exist."
		return 0
	fi
	leave_cluster
	stop_units
	swap_again=no
	undo
	run systemctl daemon-reload
	[ "$swap_again" = no ] || run swapon -a
	rm -rf "$state/downloads"
	rm -f "$state/joining" "$manifest"
	rmdir "$state" 2>/dev/null || :
	say "Done. If the cluster still shows this node, delete it there. Programs of the distribution's own packages were left installed."
}

# run goes on after a failure: what is half removed already must not keep the
# rest.
run() { "$@" >/dev/null 2>&1 || say "      did not work: $*"; }

# of KIND prints the fields of the manifest's lines of that kind.
of() { sed -n "s/^$1	//p" "$manifest"; }

leave_cluster() {
	[ -n "$(of joined)" ] || return 0
	say "Leaving the cluster"
	if command -v kubeadm >/dev/null; then
		run kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock
	fi
	run systemctl disable --now kubelet
	rm -f "$root/etc/kubernetes/kubelet.conf" "$root/etc/kubernetes/bootstrap-kubelet.conf" "$root/etc/kubernetes/pki/ca.crt"
}

stop_units() {
	of unit | while IFS= read -r unit; do
		say "Stopping $unit"
		run systemctl disable --now "$unit"
	done
}

# undo reads the manifest backwards: a directory goes after the files in it.
undo() {
	awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' "$manifest" >"$manifest.reversed"
	while IFS='	' read -r kind path backup hash; do
		case $kind in
		file) remove "$path" ;;
		dir) rmdir "$root$path" 2>/dev/null || : ;;
		tree) remove_tree "$path" ;;
		restore) restore "$path" "$backup" "$hash" ;;
		mask) run systemctl unmask "$path" ;;
		esac
	done <"$manifest.reversed"
	rm -f "$manifest.reversed"
}

remove() {
	[ -e "$root$1" ] || return 0
	rm -f "$root$1"
	say "Removed $1"
}

# remove_tree is for the data of a runtime that the join script installed.
remove_tree() {
	tree=$root$1
	case $1 in
	/var/lib/?*) rm -rf "$tree" 2>/dev/null || say "Left what could not be removed of $1" ;;
	esac
}

restore() {
	[ -e "$root$2" ] || return 0
	if [ "$(sha256sum "$root$1" | cut -d ' ' -f 1)" != "$3" ]; then
		say "Left $1 as it is, because it was changed since; the old file is $2"
		return 0
	fi
	mv "$root$2" "$root$1"
	say "Restored $1"
	case $1 in
	/etc/fstab) swap_again=yes ;;
	/etc/containerd/*) run systemctl try-restart containerd ;;
	esac
}

main "$@"
