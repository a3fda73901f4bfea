#!/bin/sh
# Makes this machine a node of a Kubernetes cluster that KubeBYON runs:
#
#   curl -sfL "https://HOST/join?token=kbt_..." | sh -
#   curl -sfL "https://HOST/join?token=kbt_..." | sh -s -- --help
#
# It may be run again: what is done already stays as it is. What it installs it
# lists in /var/lib/kubebyon/manifest, and kubebyon-node-uninstall.sh takes back.
#
# The shell reads up to the closing brace on the last line before it runs
# anything, so a download that breaks off does nothing.
#
# shellcheck disable=SC2317,SC2329 # await and each_of call functions by name
{
# >>> values: KubeBYON fills these in for one cluster and one join token.
cluster_id=''
cluster_name=''
server=''
ca_cert_hash=''
token_id=''
kubernetes_version=''
platform_url=''
issued_at=0
expires_at=0
mirror=''
containerd_mirror=''
containerd_version=''
runc_mirror=''
runc_version=''
cni_mirror=''
cni_version=''
crictl_mirror=''
crictl_version=''
ca_certificate() { :; }
bootstrap_token() { :; }
checksums() { :; }
uninstall_script() { :; }
# <<< values

main() {
	set -eu
	umask 077
	read_settings "$@"
	if [ -n "$hollow" ]; then
		join_hollow_node
	else
		join_machine
	fi
}

# ---- what was asked for -----------------------------------------------------

usage() {
	cat <<EOF
Makes this machine a node of a Kubernetes cluster.

  curl -sfL "https://HOST/join?token=kbt_..." | sh -s -- [OPTION...]

  --node-name NAME     name of the node (KUBEBYON_NODE_NAME; the host's name)
  --node-ip ADDRESS    address that the node announces (KUBEBYON_NODE_IP)
  --labels A=B,...     labels of the node (KUBEBYON_NODE_LABELS)
  --taints A=B:EFFECT  taints of the node (KUBEBYON_NODE_TAINTS)
  --swap off|keep|stop what to do about swap: turn it off, let the node run
                       with it, or stop here (KUBEBYON_SWAP; off)
  --timeout SECONDS    how long to wait for an answer (KUBEBYON_TIMEOUT; 120)
  --ready-timeout SECONDS
                       how long to wait for the node to be Ready
                       (KUBEBYON_READY_TIMEOUT; 300)
  --mirror URL         where kubelet and kubeadm come from (KUBEBYON_MIRROR)
  --skip-packages      install no packages of the distribution
                       (KUBEBYON_SKIP_PACKAGES=yes)
  --reset              leave the cluster that this script joined before
  --help               print this

Also from the environment: KUBEBYON_CONTAINERD_MIRROR, KUBEBYON_RUNC_MIRROR,
KUBEBYON_CNI_MIRROR and KUBEBYON_CRICTL_MIRROR, where the container runtime
comes from; KUBEBYON_ROOT, a directory that stands for / in every path;
KUBEBYON_HOLLOW_NODE, the path of kubebyon-localplane: run a hollow node,
which needs no root, with its files under KUBEBYON_NODE_DIR.
EOF
}

read_settings() {
	log_file='' tmp='' child='' lock_dir='' step=0 steps=1 pause=0.05 slow=0.25 reason=''
	root=${KUBEBYON_ROOT:-}
	root=${root%/}
	hollow=${KUBEBYON_HOLLOW_NODE:-}
	node_dir=${KUBEBYON_NODE_DIR:-}
	node_name=${KUBEBYON_NODE_NAME:-}
	node_ip=${KUBEBYON_NODE_IP:-}
	labels=${KUBEBYON_NODE_LABELS:-}
	taints=${KUBEBYON_NODE_TAINTS:-}
	swap=${KUBEBYON_SWAP:-off}
	timeout=${KUBEBYON_TIMEOUT:-120}
	ready_timeout=${KUBEBYON_READY_TIMEOUT:-300}
	skip_packages=${KUBEBYON_SKIP_PACKAGES:-no}
	reset=no
	mirror=${KUBEBYON_MIRROR:-$mirror}
	containerd_mirror=${KUBEBYON_CONTAINERD_MIRROR:-$containerd_mirror}
	runc_mirror=${KUBEBYON_RUNC_MIRROR:-$runc_mirror}
	cni_mirror=${KUBEBYON_CNI_MIRROR:-$cni_mirror}
	crictl_mirror=${KUBEBYON_CRICTL_MIRROR:-$crictl_mirror}
	read_options "$@"
	[ -n "$server" ] || die "This copy of the script was not made for a cluster." \
		"Use the join command that KubeBYON shows for your cluster."
	[ -n "$node_name" ] || node_name=$(uname -n | tr '[:upper:]' '[:lower:]')
	check_settings
	state=$root/var/lib/kubebyon
	downloads=$state/downloads
	kubernetes_minor=${kubernetes_version#v1.}
	kubernetes_minor=${kubernetes_minor%%.*}
	# Commands that a login shell may not have on its path, least of all on RHEL.
	PATH=$PATH:$root/usr/local/sbin:$root/usr/local/bin:$root/usr/sbin:$root/usr/bin:$root/sbin:$root/bin
	export PATH
	sleep 0.01 2>/dev/null || pause=1 slow=1
}

read_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--help | -h)
			usage
			exit 0
			;;
		--reset) reset=yes ;;
		--skip-packages) skip_packages=yes ;;
		--*=*) set_option "${1%%=*}" "${1#*=}" ;;
		*)
			[ $# -gt 1 ] || die "The option $1 is unknown, or its value is missing." "See --help."
			set_option "$1" "$2"
			shift
			;;
		esac
		shift
	done
}

set_option() {
	case $1 in
	--node-name) node_name=$2 ;;
	--node-ip) node_ip=$2 ;;
	--labels) labels=$2 ;;
	--taints) taints=$2 ;;
	--swap) swap=$2 ;;
	--timeout) timeout=$2 ;;
	--ready-timeout) ready_timeout=$2 ;;
	--mirror) mirror=$2 ;;
	*) die "The option $1 is unknown." "See --help." ;;
	esac
}

check_settings() {
	case $node_name in
	'' | *[!a-z0-9.-]* | [.-]* | *[.-] | localhost | localhost.*)
		die "The node cannot be named \"$node_name\": a name has lower-case letters, digits, dots and dashes, and is not localhost." \
			"Set KUBEBYON_NODE_NAME, or give the host a name with hostnamectl."
		;;
	esac
	[ ${#node_name} -le 63 ] || die "The node's name is longer than 63 characters." "Set KUBEBYON_NODE_NAME."
	case $node_ip in
	*[!0-9a-fA-F.:]*) die "KUBEBYON_NODE_IP is not an address." "Give one IPv4 or IPv6 address of this machine." ;;
	esac
	for number in "$timeout" "$ready_timeout"; do
		case $number in
		'' | *[!0-9]* | ???????*) die "A timeout must be a number of seconds, not \"$number\"." "Set KUBEBYON_TIMEOUT or KUBEBYON_READY_TIMEOUT." ;;
		esac
	done
	case $swap in
	off | keep | stop) ;;
	*) die "KUBEBYON_SWAP must be off, keep or stop, not \"$swap\"." "See --help." ;;
	esac
	case $skip_packages in
	yes | true | 1) skip_packages=yes ;;
	*) skip_packages=no ;;
	esac
	for url in "$mirror" "$containerd_mirror" "$runc_mirror" "$cni_mirror" "$crictl_mirror"; do
		case $url in
		https://?* | http://?*) ;;
		*) die "A mirror must be a URL that starts with https:// or http://, not \"$url\"." "See --help." ;;
		esac
	done
	each_of "$labels" check_label
	each_of "$taints" check_taint
}

# each_of LIST COMMAND runs the command with each item of a comma-separated list.
each_of() {
	rest=$1
	while [ -n "$rest" ]; do
		item=${rest%%,*}
		case $rest in
		*,*) rest=${rest#*,} ;;
		*) rest='' ;;
		esac
		[ -z "$item" ] || "$2" "$item"
	done
}

check_label() {
	case $1 in
	*[!A-Za-z0-9./_=-]* | *=*=* | =*) bad_label "$1" ;;
	# The API server lets a kubelet set only a few labels of these names.
	node.kubernetes.io/*=* | kubelet.kubernetes.io/*=* | topology.kubernetes.io/zone=* | topology.kubernetes.io/region=*) ;;
	*kubernetes.io/*=* | *k8s.io/*=*)
		die "A node may not give itself the label \"$1\"." "Leave it out here, and set it with kubectl label node when the node has joined."
		;;
	*=*) ;;
	*) bad_label "$1" ;;
	esac
}

bad_label() { die "\"$1\" is not a label." "Write KUBEBYON_NODE_LABELS as name=value,name=value."; }

check_taint() {
	case $1 in
	*[!A-Za-z0-9./_=:-]* | *=*=* | =* | :*) ;;
	*?:NoSchedule | *?:PreferNoSchedule | *?:NoExecute) return 0 ;;
	esac
	die "\"$1\" is not a taint." "Write KUBEBYON_NODE_TAINTS as name=value:NoSchedule,name:NoExecute."
}

# ---- telling ----------------------------------------------------------------

say() {
	printf '%s\n' "$*" >&2
	log "$*"
}

note() { say "      $*"; }

log() {
	[ -z "$log_file" ] || printf '%s %s\n' "$(date -u '+%Y-%m-%dT%H:%M:%SZ')" "$*" >>"$log_file"
}

next_step() {
	step=$((step + 1))
	say "[$step/$steps] $*"
}

# die WHAT REMEDY: every end but the good one says what to do next.
die() {
	say "Stopped: $1"
	say "What to do: $2"
	exit 1
}

# run COMMAND... keeps the output for the log and shows its end when it fails.
run() {
	log "running: $*"
	if "$@" >"$tmp/output" 2>&1; then
		log_output "$tmp/output"
		return 0
	fi
	log_output "$tmp/output"
	show_end "$tmp/output"
	return 1
}

log_output() { [ -z "$log_file" ] || mask <"$1" >>"$log_file"; }

show_end() { tail -n 12 "$1" | mask | sed 's/^/      | /' >&2; }

# mask hides the token in what other programs print. Its value reaches sed in a
# file: arguments can be seen by everyone on the machine.
mask() { sed -f "$tmp/mask.sed"; }

now() { date +%s; }

# await SECONDS WHAT COMMAND... repeats the command until it succeeds, and says
# now and then what it waits for and, from $reason, why it has to.
await() {
	limit=$1 what=$2
	shift 2
	began=$(now) told='' told_at=0
	while ! "$@"; do
		waited=$(($(now) - began))
		[ "$waited" -lt "$limit" ] || return 1
		if [ "$waited" -gt 0 ] && { [ "$reason" != "$told" ] || [ $((waited - told_at)) -ge 5 ]; }; then
			note "waiting for $what: $reason ($waited s of $limit s)"
			told=$reason told_at=$waited
		fi
		if [ "$waited" -lt 10 ]; then
			sleep "$pause"
		else
			sleep "$slow"
		fi
	done
}

# ---- the run itself ---------------------------------------------------------

# open_run DIR makes the private directory of this run and promises to remove it.
open_run() {
	tmp=$(mktemp -d "$1/kubebyon-join.XXXXXX")
	trap close_run EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	ca_certificate >"$tmp/ca.crt"
	bootstrap_token | sed 's/^[^.]*[.]//; s/.*/s\/&\/[redacted]\/g/' >"$tmp/mask.sed"
}

close_run() {
	status=$?
	# Whatever is still joining reads the token's file, which goes now.
	[ -z "$child" ] || kill "$child" 2>/dev/null || :
	[ -z "$tmp" ] || rm -rf "$tmp"
	[ -z "$lock_dir" ] || rmdir "$lock_dir" 2>/dev/null || :
	exit "$status"
}

# only_run FILE ends a second run on the same machine. The kernel frees the lock
# of flock however this run ends; children must not inherit it (9>&-).
only_run() {
	if command -v flock >/dev/null; then
		exec 9>>"$1"
		flock -n 9 || die "Another join is running here." "Wait until it ends, then run this again."
	else
		mkdir "$1.d" 2>/dev/null || die "Another join is running here, or one was killed." \
			"Wait until it ends. If none is running, remove $1.d and run this again."
		lock_dir=$1.d
	fi
}

# check_age stops on a token whose time is over, before anything is changed.
check_age() {
	[ "$expires_at" -eq 0 ] || [ "$(now)" -lt "$expires_at" ] || die \
		"The join token of this script has expired, or this machine's clock is ahead: it says $(date)." \
		"Compare the clock. If it is right, get a new join command from $platform_url and run that."
	[ "$issued_at" -le $(($(now) + clock_limit)) ] || wrong_clock $((issued_at - $(now))) behind
}

# ---- the cluster's answer ---------------------------------------------------

# A certificate is dated back by five minutes, so a clock that is further behind
# makes it look like one from the future.
clock_limit=120

meet_cluster() {
	command -v curl >/dev/null || die "This script needs curl." "Install curl with the package manager of this system and run this again."
	check_age
	await "$timeout" "the API server at $server to answer" ask_cluster || die \
		"The API server at $server does not answer: $reason." \
		"Check that this machine may connect to $server (firewall, DNS, proxy) and that the cluster is shown as reachable at $platform_url, then run this again."
	check_clock
	await "$((timeout < 10 ? timeout : 10))" "the cluster to know the token" signed_for_us || die \
		"The cluster does not know the token of this script: it has been used by another machine, has expired, or was revoked." \
		"Get a new join command from $platform_url; each serves one machine."
}

# ask_cluster reads the cluster's public self-description, which carries a
# signature for each bootstrap token that may join. -q keeps a ~/.curlrc from
# weakening the check of the certificate.
ask_cluster() {
	failed=0
	code=$(curl -q -sS --proto =https --cacert "$tmp/ca.crt" --connect-timeout 5 --max-time 15 \
		-D "$tmp/headers" -o "$tmp/cluster-info" -w '%{http_code}' \
		"https://$server/api/v1/namespaces/kube-public/configmaps/cluster-info" 2>"$tmp/curl") || failed=$?
	case $failed in
	0) ;;
	51 | 60 | 77 | 83) untrusted "$(curl_said)" ;;
	*)
		reason=$(curl_said)
		return 1
		;;
	esac
	case $code in
	200) return 0 ;;
	401 | 403 | 404) reason="it answers, but is not prepared for nodes to join yet (status $code)" ;;
	*) reason="it answered with status $code" ;;
	esac
	return 1
}

curl_said() {
	sed -n 's/^curl: ([0-9]*) //p' "$tmp/curl" | tail -n 1 | sed 's/[.]*$//' | grep . || printf 'curl could not connect'
}

untrusted() {
	case $1 in
	*'not yet valid'* | *expired*) die "The certificate of $server does not fit this machine's clock, which says $(date): $1." \
		"Set the clock, for example with: timedatectl set-ntp true. Then run this again." ;;
	esac
	die "The server at $server does not show a certificate of the cluster's own authority: $1." \
		"Do not go round this: something between here and the cluster answers in its place, or the cluster was made anew. Get a new join command from $platform_url."
}

signed_for_us() {
	reason='its signature is not there yet'
	! grep -q "\"jws-kubeconfig-$token_id\"" "$tmp/cluster-info" || return 0
	ask_cluster || :
	grep -q "\"jws-kubeconfig-$token_id\"" "$tmp/cluster-info"
}

check_clock() {
	theirs=$(epoch_of "$(sed -n 's/^[Dd][Aa][Tt][Ee]: *//p' "$tmp/headers" | tail -n 1 | tr -d '\r')")
	[ -n "$theirs" ] || return 0
	ahead=$(($(now) - theirs))
	if [ "$ahead" -gt "$clock_limit" ]; then
		wrong_clock "$ahead" ahead
	elif [ "$ahead" -lt "-$clock_limit" ]; then
		wrong_clock $((-ahead)) behind
	fi
}

wrong_clock() {
	die "This machine's clock is $1 seconds $2, so certificates would look expired or not yet valid." \
		"Set the clock, for example with: timedatectl set-ntp true. Then run this again."
}

# epoch_of turns 'Wed, 21 Oct 2015 07:28:00 GMT' into seconds since 1970, and
# anything else into nothing. date -d would not understand it everywhere.
epoch_of() {
	read -r _ day month year clock zone <<EOF
$1
EOF
	case $day$year$clock in
	[0-3][0-9][12][0-9][0-9][0-9][0-2][0-9]:[0-5][0-9]:[0-6][0-9]) ;;
	*) return 0 ;;
	esac
	[ "$zone" = GMT ] || return 0
	case $month in
	Mar) month=0 ;; Apr) month=1 ;; May) month=2 ;; Jun) month=3 ;; Jul) month=4 ;; Aug) month=5 ;;
	Sep) month=6 ;; Oct) month=7 ;; Nov) month=8 ;; Dec) month=9 ;; Jan) month=10 ;; Feb) month=11 ;;
	*) return 0 ;;
	esac
	# Years that start in March have the leap day last. 1x - 100 reads "08" as 8.
	[ "$month" -lt 10 ] || year=$((year - 1))
	days=$((365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + 1$day - 100 - 719469))
	minutes=${clock#*:}
	minutes=${minutes%:*}
	echo $((days * 86400 + (1${clock%%:*} - 100) * 3600 + (1$minutes - 100) * 60 + 1${clock##*:} - 100))
}

# ---- the order to join ------------------------------------------------------

# write_join_config makes the only file that holds the token, for kubeadm or the
# hollow node to read. The here-document keeps it out of arguments, variables
# and traces.
write_join_config() {
	api=v1beta4
	[ "$kubernetes_minor" -ge 31 ] || api=v1beta3
	cat >"$tmp/join.yaml" <<EOF
apiVersion: kubeadm.k8s.io/$api
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: "$server"
    token: "$(bootstrap_token)"
    caCertHashes:
      - "$ca_cert_hash"
EOF
	[ "$api" != v1beta3 ] || echo "  timeout: ${timeout}s" >>"$tmp/join.yaml"
	{
		printf 'nodeRegistration:\n  name: "%s"\n  criSocket: "unix:///run/containerd/containerd.sock"\n' "$node_name"
		if [ -n "$labels$node_ip" ] || [ "$swap" = keep ]; then
			echo '  kubeletExtraArgs:'
			[ -z "$labels" ] || kubelet_arg node-labels "$labels"
			[ -z "$node_ip" ] || kubelet_arg node-ip "$node_ip"
			[ "$swap" != keep ] || kubelet_arg fail-swap-on false
		fi
		if [ -n "$taints" ]; then
			echo '  taints:'
			each_of "$taints" taint_lines
		fi
		[ "$api" = v1beta3 ] || printf 'timeouts:\n  discovery: %ss\n  tlsBootstrap: %ss\n' "$timeout" "$timeout"
	} >>"$tmp/join.yaml"
}

kubelet_arg() {
	if [ "$api" = v1beta3 ]; then
		printf '    %s: "%s"\n' "$1" "$2"
	else
		printf '    - name: %s\n      value: "%s"\n' "$1" "$2"
	fi
}

taint_lines() {
	named=${1%:*}
	case $named in
	*=*) printf '    - key: "%s"\n      value: "%s"\n' "${named%%=*}" "${named#*=}" ;;
	*) printf '    - key: "%s"\n' "$named" ;;
	esac
	printf '      effect: %s\n' "${1##*:}"
}

# ---- a hollow node: for machines without root -------------------------------

join_hollow_node() {
	steps=5
	hollow=$(command -v -- "$hollow") || die "KUBEBYON_HOLLOW_NODE is ${KUBEBYON_HOLLOW_NODE:-}, which is not a program." "Give the path of kubebyon-localplane."
	case $hollow in
	/*) ;;
	*) hollow=$(pwd)/$hollow ;;
	esac
	[ -n "${node_dir:-${HOME:-}}" ] || die "There is no place for the node's files, because HOME is not set." "Set KUBEBYON_NODE_DIR to a directory."
	node_dir=${node_dir:-$HOME/.kubebyon/node-$cluster_id-$node_name}
	mkdir -p "$node_dir"
	node_dir=$(cd "$node_dir" && pwd)
	log_file=$node_dir/join.log
	: >>"$log_file"
	only_run "$node_dir/join.lock"
	open_run "$(private_place)"
	next_step "Looking for an earlier node in $node_dir"
	case $(hollow_state) in
	none) start_new_hollow_node ;;
	other) die "$node_dir holds a node of another cluster or of another name." "Set KUBEBYON_NODE_DIR to another directory, or stop that node and remove $node_dir." ;;
	running) say "$node_name is already a node of this cluster. It runs in the background with pid $(hollow_pid)." ;;
	stopped) restart_hollow_node ;;
	esac
}

# private_place prefers a directory in memory to one on disk.
private_place() {
	if [ -n "${XDG_RUNTIME_DIR:-}" ] && [ -w "$XDG_RUNTIME_DIR" ]; then
		echo "$XDG_RUNTIME_DIR"
	else
		echo "${TMPDIR:-/tmp}"
	fi
}

# hollow_state prints none, other, running or stopped.
hollow_state() {
	if [ ! -e "$node_dir/joined" ]; then
		echo none
	elif [ "$(cat "$node_dir/joined")" != "$cluster_id $node_name" ]; then
		echo other
	elif hollow_alive; then
		echo running
	else
		echo stopped
	fi
}

hollow_pid() { cat "$node_dir/node.pid" 2>/dev/null || :; }

# hollow_alive asks for our own process: the number may be another's by now.
hollow_alive() {
	pid=$(hollow_pid)
	[ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
	tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -e "$node_dir/node"
}

start_new_hollow_node() {
	# One whose script was killed has no certificate, and the script no way to
	# follow it.
	! hollow_alive || kill "$pid" 2>/dev/null || :
	next_step "Asking $server about the cluster $cluster_name"
	meet_cluster
	write_join_config
	launch_hollow_node --config "$tmp/join.yaml" --name "$node_name"
	child=$launched
	remedy="If the token was used or has expired, get a new join command from $platform_url."
	follow_hollow_node
}

# restart_hollow_node needs no token: the node has its certificate.
restart_hollow_node() {
	steps=4
	note "$node_name is a node of this cluster, but its process has ended"
	launch_hollow_node
	remedy="If the cluster does not take this node any more, remove $node_dir and run a new join command from $platform_url."
	follow_hollow_node
}

# launch_hollow_node starts the node in a session of its own, holding none of
# our files: the pipe of curl | sh must end with this script.
launch_hollow_node() {
	next_step "Starting the hollow node $node_name"
	: >"$node_dir/stages.jsonl"
	detach='nohup'
	! command -v setsid >/dev/null || detach='setsid'
	# shellcheck disable=SC2016 # the inner shell expands these
	"$detach" sh -c 'echo $$ >"$1/node.pid"; shift; exec "$@"' sh "$node_dir" \
		"$hollow" node --dir "$node_dir/node" "$@" \
		</dev/null >>"$node_dir/stages.jsonl" 2>>"$node_dir/node.log" 9>&- &
	launched=$!
}

follow_hollow_node() {
	exec 3<"$node_dir/stages.jsonl"
	line='' stage='' stage_reason=''
	next_step "Waiting for the node to register"
	await "$timeout" "the hollow node to register" hollow_registered || hollow_failed \
		"The hollow node did not register within $timeout s: $reason."
	next_step "Waiting for the node to be Ready"
	await "$ready_timeout" "the node to be Ready" hollow_ready || die \
		"The node has registered, but is not Ready after $ready_timeout s: $reason." \
		"It goes on trying with pid $(hollow_pid). Look into the logs under $node_dir."
	exec 3<&-
	pid=$(hollow_pid)
	say "$node_name is a Ready node of the cluster $cluster_name. It runs in the background with pid $pid."
	say "Its files are under $node_dir. To stop it: kill $pid. To start it again: $hollow node --dir $node_dir/node"
}

# read_stages takes in what the node has said since the last time.
read_stages() {
	while IFS= read -r more <&3; do
		line=$line$more
		take_stage "$line"
		line=''
	done
	line=$line$more # the writer has not finished this line
}

take_stage() {
	case $1 in
	*'"stage":"'*) ;;
	*) return 0 ;;
	esac
	stage=${1#*'"stage":"'}
	stage=${stage%%\"*}
	stage_reason=$(printf '%s\n' "$1" | sed -n 's/\\"/`/g; s/.*"reason":"\([^"]*\)".*/\1/p' | sed 's/[.]*$//')
	case $stage in
	discovered) note "the cluster has shown the right authority and knows the token" ;;
	bootstrapped)
		keep_hollow_node
		note "the node has its own certificate"
		;;
	registered)
		keep_hollow_node
		note "the node is registered"
		;;
	ready) note "the node is Ready" ;;
	failed) hollow_failed "The hollow node could not join: ${stage_reason:-it gave no reason}." ;;
	*) note "$stage${stage_reason:+: $stage_reason}" ;;
	esac
}

# keep_hollow_node: from here on the node needs neither the token nor us.
keep_hollow_node() {
	rm -f "$tmp/join.yaml"
	child=''
	echo "$cluster_id $node_name" >"$node_dir/joined"
}

hollow_registered() {
	read_stages
	case $stage in
	registered | ready) return 0 ;;
	esac
	still_running
	return 1
}

hollow_ready() {
	read_stages
	[ "$stage" != ready ] || return 0
	still_running
	return 1
}

still_running() {
	reason="${stage:+so far it is $stage}${stage_reason:+ ($stage_reason)}"
	reason=${reason:-it has not said anything yet}
	finished "$launched" || return 0
	read_stages # its last words may have come after the last look
	hollow_failed "The hollow node's process has ended without a reason."
}

# finished PID: a child that has ended stays visible until the shell collects it.
finished() {
	kill -0 "$1" 2>/dev/null || return 0
	grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null
}

hollow_failed() {
	show_end "$node_dir/node.log"
	die "$1" "Look into the logs under $node_dir. $remedy"
}

# ---- a machine: kubelet, kubeadm and containerd under systemd ---------------

join_machine() {
	steps=9
	[ "$(id -u)" -eq 0 ] || die "This needs root, because it installs system services." \
		"Pipe into sudo instead: curl -sfL \"$platform_url/join?token=...\" | sudo sh -"
	mkdir -p "$root/var/log" "$root/run"
	log_file=$root/var/log/kubebyon-join.log
	: >>"$log_file"
	chmod 600 "$log_file"
	only_run "$root/run/kubebyon-join.lock"
	open_run "$root/run"
	next_step "Checking this machine"
	check_system
	check_membership
	check_ports
	check_firewall
	next_step "Asking $server about the cluster $cluster_name"
	meet_cluster
	begin_manifest
	next_step "Swap"
	settle_swap
	next_step "Packages of the distribution"
	install_packages
	next_step "Kernel modules and settings"
	prepare_kernel
	next_step "Container runtime"
	prepare_containerd
	next_step "kubelet and kubeadm $kubernetes_version"
	install_kubernetes
	rm -rf "$downloads"
	next_step "Joining the cluster $cluster_name as $node_name"
	kubeadm_join
	next_step "Waiting for the node to be Ready"
	await_ready_node
	say "$node_name is a Ready node of the cluster $cluster_name. To leave it: /usr/local/bin/kubebyon-node-uninstall.sh"
}

check_system() {
	[ "$(uname -s)" = Linux ] || die "This is $(uname -s); a node runs Linux." "Use a Linux machine."
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) die "The processor of this machine, $(uname -m), is not supported." "Use a machine with x86-64 or 64-bit ARM." ;;
	esac
	if [ ! -d "$root/run/systemd/system" ] || ! command -v systemctl >/dev/null; then
		die "This system does not run systemd, which looks after the kubelet and containerd." "Use a distribution with systemd, such as Debian, Ubuntu, Rocky Linux or RHEL."
	fi
	os=$(os_release PRETTY_NAME)
	case " $(os_release ID) $(os_release ID_LIKE) " in
	*' debian '* | *' ubuntu '*) family=debian ;;
	*' rhel '* | *' fedora '* | *' centos '* | *' rocky '* | *' almalinux '*) family=rhel ;;
	*)
		family=unknown
		note "${os:-this distribution} is not one this script is tested on: going on, but it installs no packages here"
		;;
	esac
	# The kubelet has refused to start on the older kind since 1.35.
	if [ "$kubernetes_minor" -ge 35 ] && [ ! -e "$root/sys/fs/cgroup/cgroup.controllers" ]; then
		die "This system uses control groups version 1, with which Kubernetes $kubernetes_version does not run." \
			"Add systemd.unified_cgroup_hierarchy=1 to the kernel's command line and restart, or use a newer release of the distribution."
	fi
	note "${os:-Linux}, $arch"
}

os_release() {
	[ ! -r "$root/etc/os-release" ] || sed -n "s/^$1=//p" "$root/etc/os-release" | tr -d "\"'" | head -n 1
}

# check_membership ends the run on a machine that is a node already.
check_membership() {
	for trace in k3s:/etc/rancher/k3s k3s:/var/lib/rancher/k3s k3s:/usr/local/bin/k3s \
		rke2:/etc/rancher/rke2 rke2:/var/lib/rancher/rke2 \
		microk8s:/var/snap/microk8s microk8s:/snap/bin/microk8s \
		k0s:/var/lib/k0s k0s:/usr/local/bin/k0s; do
		[ ! -e "$root${trace#*:}" ] || die "This machine has ${trace%%:*}, another Kubernetes, installed: ${trace#*:} exists." \
			"Uninstall ${trace%%:*} first, or use another machine."
	done
	if [ "$reset" = yes ]; then
		leave_cluster
		return 0
	fi
	[ ! -e "$root/etc/kubernetes/manifests/kube-apiserver.yaml" ] || die \
		"This machine runs the control plane of another cluster: /etc/kubernetes/manifests/kube-apiserver.yaml exists." "Use another machine."
	if [ -e "$root/etc/kubernetes/kubelet.conf" ]; then
		already_node
	elif [ -e "$state/joining" ]; then
		clear_failed_join
	elif [ -e "$root/etc/kubernetes/bootstrap-kubelet.conf" ] || [ -e "$root/etc/kubernetes/pki/ca.crt" ]; then
		die "Another join was begun on this machine and not ended: /etc/kubernetes holds its files." \
			"If that cluster is of no use here any more, run: kubeadm reset. Then run this again."
	fi
}

already_node() {
	same_cluster || die "This machine is a node of another cluster$(other_server)." "$(how_to_leave)"
	rm -f "$state/joining"
	systemctl is-active --quiet kubelet || die "This machine is already a node of this cluster, but its kubelet does not run." \
		"See why with: journalctl -u kubelet -n 50. Start it with: systemctl restart kubelet."
	say "This machine is already a node of this cluster. Nothing was changed."
	exit 0
}

# same_cluster compares authorities: addresses may change, a cluster's own key
# does not.
same_cluster() {
	sed -n 's/^[[:space:]]*certificate-authority-data:[[:space:]]*//p' "$root/etc/kubernetes/kubelet.conf" | head -n 1 | base64 -d >"$tmp/theirs.crt" 2>/dev/null || :
	[ -s "$tmp/theirs.crt" ] || cat "$root/etc/kubernetes/pki/ca.crt" >"$tmp/theirs.crt" 2>/dev/null || :
	[ "$(grep . "$tmp/theirs.crt")" = "$(grep . "$tmp/ca.crt")" ]
}

other_server() { sed -n 's/^[[:space:]]*server:[[:space:]]*/ at /p' "$root/etc/kubernetes/kubelet.conf" | head -n 1; }

how_to_leave() {
	if [ -e "$state/manifest" ]; then
		echo "To leave that cluster, run /usr/local/bin/kubebyon-node-uninstall.sh and then this again, or this with: sh -s -- --reset"
	else
		echo "This script did not make it a node, so it does not touch it. If the machine may leave that cluster, drain it, run kubeadm reset, and then run this again."
	fi
}

# leave_cluster undoes only what this script did.
leave_cluster() {
	if [ -e "$state/manifest" ]; then
		note "leaving the cluster joined before"
		run sh "$root/usr/local/bin/kubebyon-node-uninstall.sh" || die "The machine could not leave its cluster." "See $log_file."
	elif [ -e "$root/etc/kubernetes/kubelet.conf" ]; then
		die "This machine is a node of a cluster that this script did not join." "$(how_to_leave)"
	fi
}

# clear_failed_join removes what kubeadm leaves behind when it fails, because
# it would refuse to start beside it. There is no certificate of a node yet.
clear_failed_join() {
	note "clearing what an earlier, failed join left behind"
	run systemctl stop kubelet || :
	rm -f "$root/etc/kubernetes/bootstrap-kubelet.conf" "$root/etc/kubernetes/pki/ca.crt" \
		"$root/var/lib/kubelet/config.yaml" "$root/var/lib/kubelet/kubeadm-flags.env" "$state/joining"
}

check_ports() {
	for port in 10250:280A:kubelet 10248:2808:kubelet 10256:2810:kube-proxy; do
		hex=${port#*:}
		if port_taken "${hex%%:*}"; then
			die "Port ${port%%:*}, which the ${port##*:} needs, is taken." "See by what with: ss -ltnp 'sport = :${port%%:*}'. Stop that program and run this again."
		fi
	done
}

# check_firewall only tells: which neighbours may connect is not ours to decide.
check_firewall() {
	for firewall in firewalld ufw; do
		! systemctl is-active --quiet "$firewall" || note "$firewall is active, and stays as it is: let the other nodes and the control plane reach port 10250 of this machine"
	done
}

# port_taken HEX looks for a listening socket (state 0A).
port_taken() {
	for table in "$root/proc/net/tcp" "$root/proc/net/tcp6"; do
		[ -r "$table" ] || continue
		! awk -v port=":$1\$" '$2 ~ port && $4 == "0A" { found = 1 } END { exit !found }' "$table" || return 0
	done
	return 1
}

# ---- what was changed, so that it can be undone -----------------------------

begin_manifest() {
	mkdir -p "$downloads"
	[ -e "$state/manifest" ] || : >"$state/manifest"
	uninstall_script | put /usr/local/bin/kubebyon-node-uninstall.sh 755
}

tab=$(printf '\t')

# record KIND WHAT... adds a line to the manifest, once.
record() {
	entry=$1
	shift
	for field in "$@"; do entry=$entry$tab$field; done
	grep -qxF -e "$entry" "$state/manifest" || printf '%s\n' "$entry" >>"$state/manifest"
}

# make_dir PATH makes a directory that everyone may read.
make_dir() {
	if [ -z "$1" ] || [ -d "$root$1" ]; then
		return 0
	fi
	make_dir "${1%/*}"
	mkdir "$root$1"
	chmod 755 "$root$1"
	record dir "$1"
}

# put PATH MODE makes standard input a file, in one move, unless it is that
# already ($changed tells).
put() {
	changed=no
	make_dir "${1%/*}"
	cat >"$root$1.kubebyon-new" || die "$1 could not be written." "See whether the disk is full or read-only, and run this again."
	if [ -e "$root$1" ] && [ "$(hash_of "$root$1.kubebyon-new")" = "$(hash_of "$root$1")" ]; then
		rm "$root$1.kubebyon-new"
		return 0
	fi
	chmod "$2" "$root$1.kubebyon-new"
	record file "$1"
	mv "$root$1.kubebyon-new" "$root$1"
	changed=yes
}

# replace PATH makes standard input a file that is not ours, and keeps the first
# form of it for the uninstall script.
replace() {
	cat >"$root$1.kubebyon-new" || die "$1 could not be written." "See whether the disk is full or read-only, and run this again."
	[ -e "$root$1.kubebyon-backup" ] || cp -p "$root$1" "$root$1.kubebyon-backup"
	chmod 644 "$root$1.kubebyon-new"
	record restore "$1" "$1.kubebyon-backup" "$(hash_of "$root$1.kubebyon-new")"
	mv "$root$1.kubebyon-new" "$root$1"
}

hash_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# ---- the machine's settings -------------------------------------------------

settle_swap() {
	if ! swap_on && ! swap_in_fstab; then
		note "there is none"
	elif [ "$swap" = keep ]; then
		note "it stays on: the kubelet is told to accept that"
	elif [ "$swap" = stop ]; then
		die "Swap is on, and KUBEBYON_SWAP=stop forbids to turn it off." "Turn it off with swapoff -a and in /etc/fstab, or set KUBEBYON_SWAP to off or keep."
	else
		turn_swap_off
	fi
}

swap_on() { [ -r "$root/proc/swaps" ] && [ "$(wc -l <"$root/proc/swaps")" -gt 1 ]; }

swap_in_fstab() { [ -r "$root/etc/fstab" ] && awk '!/^[ \t]*#/ && $3 == "swap" { found = 1 } END { exit !found }' "$root/etc/fstab"; }

turn_swap_off() {
	if swap_in_fstab; then
		awk '!/^[ \t]*#/ && $3 == "swap" { print "# kubebyon: " $0; next } { print }' "$root/etc/fstab" >"$tmp/fstab"
		replace /etc/fstab <"$tmp/fstab"
		note "commented out in /etc/fstab; the old file is /etc/fstab.kubebyon-backup"
	fi
	swap_on || return 0
	for unit in $(systemctl list-units --type=swap --state=active --no-legend --plain 2>/dev/null | cut -d ' ' -f 1); do
		record mask "$unit"
		run systemctl mask "$unit" || note "$unit could not be masked: it may come back when the machine restarts"
	done
	run swapoff -a || die "Swap could not be turned off; there may not be enough free memory." "Free some memory, or set KUBEBYON_SWAP=keep, and run this again."
	note "turned off"
}

prepare_kernel() {
	printf 'overlay\nbr_netfilter\n' | put /etc/modules-load.d/kubebyon.conf 644
	for module in overlay br_netfilter; do
		run modprobe "$module" || die "The kernel module $module could not be loaded." \
			"If this is a container, use a real or virtual machine. Otherwise install the modules of the running kernel ($(uname -r)), or restart after a kernel update."
	done
	put /etc/sysctl.d/99-kubebyon.conf 644 <<EOF
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_forward = 1
EOF
	# -e: a kernel without IPv6 lacks one of them.
	run sysctl -e -p "$root/etc/sysctl.d/99-kubebyon.conf" || die "The kernel settings could not be made." "See $log_file."
	note "overlay and br_netfilter are loaded, packets may be forwarded"
}

# install_packages installs what is missing of the few commands that the kubelet
# and kubeadm call.
install_packages() {
	missing=''
	need sysctl procps procps-ng
	need modprobe kmod kmod
	need tar tar tar
	need iptables iptables iptables-nft
	need mount mount util-linux
	need losetup mount util-linux
	[ "$kubernetes_minor" -ge 32 ] || need conntrack conntrack conntrack-tools
	if [ -z "$missing" ]; then
		note "nothing is missing"
	elif [ "$skip_packages" = yes ] || [ "$family" = unknown ]; then
		die "These packages are missing, and are not to be installed from here:$missing." "Install them and run this again."
	else
		note "installing$missing"
		install_missing || die "The packages could not be installed:$missing." "Install them by hand, or put the package manager right, and run this again. See $log_file."
	fi
}

# need COMMAND DEBIAN RHEL notes the package of a command that is not there.
need() {
	! command -v "$1" >/dev/null || return 0
	package=$2
	[ "$family" != rhel ] || package=$3
	case " $missing " in
	*" $package "*) ;;
	*) missing="$missing $package" ;;
	esac
}

install_missing() {
	# shellcheck disable=SC2086 # $missing is a list
	if [ "$family" = debian ]; then
		DEBIAN_FRONTEND=noninteractive
		export DEBIAN_FRONTEND
		run apt-get update -qq && run apt-get install -y -qq --no-install-recommends $missing
	elif command -v dnf >/dev/null; then
		run dnf install -y -q $missing
	else
		run yum install -y -q $missing
	fi
}

# ---- downloads --------------------------------------------------------------

# download BASE PATH SUMS DEST [INSTALLED] gets BASE/PATH and checks its SHA-256:
# against what the platform knows, else against the file BASE/SUMS, which must
# then come over TLS. It leaves DEST out when INSTALLED is that very file.
download() {
	wanted=$(checksum_of "$1" "$2" "$3")
	case $wanted in
	*[!0-9a-f]* | '') no_checksum "$1" "$2" ;;
	esac
	[ ${#wanted} -eq 64 ] || no_checksum "$1" "$2"
	if [ -e "${5:-}" ] && [ "$(hash_of "$5")" = "$wanted" ]; then
		rm -f "$4"
		return 0
	fi
	note "downloading $1/$2"
	get "$1/$2" "$4.part" || die "$1/$2 could not be downloaded: $(curl_said)." \
		"Check that this machine reaches $1 (proxy, firewall), or set a mirror that it reaches: see --help."
	got=$(hash_of "$4.part")
	if [ "$got" != "$wanted" ]; then
		rm -f "$4.part"
		die "$1/$2 is not what it should be: its SHA-256 is $got, not $wanted." "The mirror is out of order or was tampered with. Do not use it; tell its operator, or set another mirror: see --help."
	fi
	mv "$4.part" "$4"
}

checksum_of() {
	known=$(checksums | awk -v path="$2" '$2 == path { print $1; exit }')
	if [ -n "$known" ]; then
		echo "$known"
		return 0
	fi
	case $1 in
	https://*) get "$1/$3" "$tmp/sums" || return 0 ;;
	*) return 0 ;;
	esac
	awk -v name="${2##*/}" 'NF == 1 { print $1; exit } { sub(/^\*/, "", $2); if ($2 == name) { print $1; exit } }' "$tmp/sums"
}

no_checksum() {
	case $1 in
	https://*) die "There is no checksum for $1/$2: $(curl_said)." "Check that this machine reaches $1 (proxy, firewall), or set a mirror that has the file and its checksum: see --help." ;;
	*) die "The mirror $1 is without TLS, and the platform knows no checksum of $2." "Use a mirror with https, or ask the operator of $platform_url to set the checksum." ;;
	esac
}

get() {
	log "downloading: $1"
	rm -f "$2"
	: >"$tmp/curl"
	secure=https
	case $1 in
	http://*) secure=http,https ;;
	esac
	curl -q -fsSL --proto "=$secure" --retry 3 --connect-timeout 15 -o "$2" "$1" 2>"$tmp/curl"
}

# install_program SOURCE DEST puts a downloaded program in its place, unless the
# same is there already.
install_program() {
	put "$2" 755 <"$1"
	[ "$changed" = yes ] || return 0
	! command -v restorecon >/dev/null || run restorecon "$root$2" || : # SELinux
	note "installed $2"
}

# ---- containerd -------------------------------------------------------------

prepare_containerd() {
	if ! command -v containerd >/dev/null; then
		install_containerd
	elif ! containerd_new_enough; then
		replace_old_containerd
	else
		keep_containerd
	fi
	install_cni_plugins
	reason='it has not started'
	await "$timeout" "containerd to answer" containerd_answers || {
		journal_of containerd
		die "containerd does not serve Kubernetes: $reason." "See why with: journalctl -u containerd -n 50."
	}
}

# Kubernetes 1.37 asks the runtime for its cgroup driver, which 1.x cannot tell.
containerd_new_enough() {
	containerd_is=$(containerd --version | sed -n 's/.* v\{0,1\}\([0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
	major=${containerd_is%%.*}
	minor=${containerd_is#*.}
	minor=${minor%%.*}
	containerd_needs=1.7
	[ "$kubernetes_minor" -lt 37 ] || containerd_needs=2.0
	[ $((${major:-0} * 1000 + ${minor:-0})) -ge $((${containerd_needs%.*} * 1000 + ${containerd_needs#*.})) ]
}

replace_old_containerd() {
	grep -qxF -e "file$tab/usr/local/bin/containerd" "$state/manifest" || die \
		"containerd ${containerd_is:-here} is too old: Kubernetes $kubernetes_version needs $containerd_needs or newer." \
		"Update it with the package manager it came from, or remove it, so that this script installs its own, and run this again."
	install_containerd
}

# keep_containerd leaves one that is fit alone. Docker's package switches off
# what Kubernetes talks to, and the defaults do not use systemd's cgroups.
keep_containerd() {
	containerd config dump >"$tmp/containerd.toml" 2>"$tmp/output" || : >"$tmp/containerd.toml"
	if fit_config "$tmp/containerd.toml"; then
		note "containerd $containerd_is is kept as it is"
		systemctl is-active --quiet containerd || run systemctl enable --now containerd || :
		return 0
	fi
	note "containerd $containerd_is is kept, but $unfit"
	if [ -e "$root/etc/containerd/config.toml" ]; then
		mend_config
		replace /etc/containerd/config.toml <"$tmp/mended.toml"
		note "changed /etc/containerd/config.toml; the old file is config.toml.kubebyon-backup"
	else
		default_config
		put /etc/containerd/config.toml 644 <"$tmp/mended.toml"
		note "made /etc/containerd/config.toml"
	fi
	run systemctl enable containerd || :
	run systemctl restart containerd || :
}

fit_config() {
	if grep -q '^[[:space:]]*disabled_plugins.*cri["'\'']' "$1"; then
		unfit='its part that serves Kubernetes (CRI) is switched off'
	elif ! grep -q '^[[:space:]]*SystemdCgroup *= *true' "$1"; then
		unfit='it does not leave control groups to systemd'
	else
		return 0
	fi
	return 1
}

# mend_config makes mended.toml, the configuration with the smallest change that
# makes it fit, else containerd's own default made fit.
mend_config() {
	sed -e 's/^\([[:space:]]*disabled_plugins *=\).*/\1 []/' -e 's/\(SystemdCgroup *= *\)false/\1true/' \
		"$root/etc/containerd/config.toml" >"$tmp/mended.toml"
	containerd --config "$tmp/mended.toml" config dump >"$tmp/containerd.toml" 2>/dev/null || : >"$tmp/containerd.toml"
	fit_config "$tmp/containerd.toml" || default_config
}

default_config() {
	containerd config default >"$tmp/default.toml" 2>"$tmp/output" || {
		show_end "$tmp/output"
		die "containerd does not print its default configuration." "Remove it, so that this script installs its own, and run this again."
	}
	sed 's/\(SystemdCgroup *= *\)false/\1true/' "$tmp/default.toml" >"$tmp/mended.toml"
}

install_containerd() {
	archive=containerd-${containerd_version#v}-linux-$arch.tar.gz
	download "$containerd_mirror" "$containerd_version/$archive" "$containerd_version/$archive.sha256sum" "$downloads/$archive"
	unpack "$downloads/$archive"
	for program in "$downloads"/unpacked/bin/*; do
		install_program "$program" "/usr/local/bin/${program##*/}"
	done
	download "$runc_mirror" "$runc_version/runc.$arch" "$runc_version/runc.sha256sum" "$downloads/runc.$arch"
	install_program "$downloads/runc.$arch" /usr/local/sbin/runc
	if [ ! -e "$root/var/lib/containerd" ]; then
		record tree /var/lib/containerd
	fi
	default_config
	put /etc/containerd/config.toml 644 <"$tmp/mended.toml"
	pass_on_proxy
	containerd_unit | put /etc/systemd/system/containerd.service 644
	record unit containerd.service
	run systemctl daemon-reload || :
	run systemctl enable containerd || :
	run systemctl restart containerd || :
}

# pass_on_proxy lets containerd pull images the way this script downloads.
pass_on_proxy() {
	proxy=${HTTPS_PROXY:-${https_proxy:-}}
	case $proxy in
	'' | *[!A-Za-z0-9.:/@%_~\[\]-]*) return 0 ;;
	esac
	direct=$(printf '%s' "${NO_PROXY:-${no_proxy:-}}" | tr -cd 'A-Za-z0-9.,:/*[]-')
	printf '[Service]\nEnvironment="HTTPS_PROXY=%s" "HTTP_PROXY=%s" "NO_PROXY=%s"\n' "$proxy" "$proxy" "$direct" >"$tmp/proxy.conf"
	put /etc/systemd/system/containerd.service.d/kubebyon-proxy.conf 600 <"$tmp/proxy.conf"
	note "containerd pulls images through the proxy of this shell's HTTPS_PROXY"
}

unpack() {
	rm -rf "$downloads/unpacked"
	mkdir "$downloads/unpacked"
	run tar -xzf "$1" -C "$downloads/unpacked" --no-same-owner || die "${1##*/} could not be unpacked." "See whether $state has space, and run this again."
}

install_cni_plugins() {
	[ ! -e "$root/opt/cni/bin/loopback" ] || return 0
	archive=cni-plugins-linux-$arch-$cni_version.tgz
	download "$cni_mirror" "$cni_version/$archive" "$cni_version/$archive.sha256" "$downloads/$archive"
	unpack "$downloads/$archive"
	for program in "$downloads"/unpacked/*; do
		case $program in
		*LICENSE | *README*) ;;
		*) put "/opt/cni/bin/${program##*/}" 755 <"$program" ;;
		esac
	done
	note "installed the network plugins in /opt/cni/bin"
}

containerd_answers() {
	if ! ctr --address "$root/run/containerd/containerd.sock" plugins ls >"$tmp/plugins" 2>&1; then
		reason=$(tail -n 1 "$tmp/plugins")
	elif grep -q '[[:space:]]cri[[:space:]].*[[:space:]]ok' "$tmp/plugins"; then
		return 0
	else
		reason='its part that serves Kubernetes (CRI) has not started'
	fi
	return 1
}

journal_of() {
	journalctl -u "$1" -n 12 --no-pager -o cat >"$tmp/output" 2>/dev/null || :
	log_output "$tmp/output"
	show_end "$tmp/output"
}

containerd_unit() {
	cat <<EOF
[Unit]
Description=containerd container runtime
After=network.target local-fs.target

[Service]
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
EOF
}

# ---- kubelet and kubeadm ----------------------------------------------------

install_kubernetes() {
	if packaged kubelet || packaged kubeadm; then
		keep_kubernetes
		return 0
	fi
	for program in kubelet kubeadm; do
		path=$kubernetes_version/bin/linux/$arch/$program
		download "$mirror" "$path" "$path.sha256" "$downloads/$program" "$root/usr/local/bin/$program"
		[ ! -e "$downloads/$program" ] || install_program "$downloads/$program" "/usr/local/bin/$program"
	done
	install_crictl
	record unit kubelet.service
	kubelet_unit | put /etc/systemd/system/kubelet.service 644
	run systemctl daemon-reload || :
	enable_kubelet
}

# packaged PROGRAM: there is one that this script did not install.
packaged() {
	command -v "$1" >/dev/null && ! grep -qxF -e "file$tab/usr/local/bin/$1" "$state/manifest"
}

# keep_kubernetes uses what is installed when its minor version is the cluster's.
keep_kubernetes() {
	for program in kubelet kubeadm; do
		case $program in
		kubelet) found=$(kubelet --version 2>/dev/null) || found='' ;;
		kubeadm) found=$(kubeadm version -o short 2>/dev/null) || found='' ;;
		esac
		case $found in
		*"v1.$kubernetes_minor."*) note "$program ${found##* } is kept as it is" ;;
		*) die "The cluster needs $program 1.$kubernetes_minor, and this machine has ${found:-none that answers} from elsewhere." \
			"Install kubelet and kubeadm 1.$kubernetes_minor where these came from, or remove both, so that this script installs its own. Then run this again." ;;
		esac
	done
	enable_kubelet
}

enable_kubelet() { run systemctl enable kubelet || die "systemd does not know the kubelet." "See $log_file."; }

# kubeadm before 1.31 calls crictl.
install_crictl() {
	if [ "$kubernetes_minor" -ge 31 ] || command -v crictl >/dev/null; then
		return 0
	fi
	archive=crictl-$crictl_version-linux-$arch.tar.gz
	download "$crictl_mirror" "$crictl_version/$archive" "$crictl_version/$archive.sha256" "$downloads/$archive"
	unpack "$downloads/$archive"
	install_program "$downloads/unpacked/crictl" /usr/local/bin/crictl
}

kubelet_unit() {
	cat <<'EOF'
[Unit]
Description=kubelet, the Kubernetes node agent
Wants=network-online.target
After=network-online.target containerd.service

[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target
EOF
}

kubeadm_join() {
	write_join_config
	echo "$cluster_id" >"$state/joining"
	record joined "$cluster_id"
	log "running: kubeadm join --config $tmp/join.yaml"
	kubeadm join --config "$tmp/join.yaml" >"$tmp/output" 2>&1 9>&- &
	child=$!
	reason='it has just begun'
	await $((timeout * 2 + 240)) "kubeadm join" kubeadm_ended || kill "$child" 2>/dev/null || :
	joined=yes
	wait "$child" 2>/dev/null || joined=no
	child=''
	log_output "$tmp/output"
	rm -f "$tmp/join.yaml"
	if [ "$joined" = no ]; then
		show_end "$tmp/output"
		join_failed
	fi
	rm -f "$state/joining"
	note "the node has its own certificate"
}

kubeadm_ended() {
	! finished "$child" || return 0
	reason=$(grep . "$tmp/output" | tail -n 1 | mask)
	return 1
}

join_failed() {
	remedy="Put right what it says above, and run this again. See $log_file and: journalctl -u kubelet -n 50."
	if grep -q 'already exists in the cluster\|and status "Ready" already exists' "$tmp/output"; then
		remedy="A node named $node_name is in the cluster already. Set KUBEBYON_NODE_NAME to another name, or delete that node first, and run this again."
	elif grep -qi 'unauthorized\|JWS' "$tmp/output"; then
		remedy="The token has been used, has expired, or was revoked. Get a new join command from $platform_url."
	fi
	die "kubeadm could not join the cluster." "$remedy"
}

# ---- ready ------------------------------------------------------------------

await_ready_node() {
	reason='the kubelet has not registered yet'
	await "$ready_timeout" "$node_name to be Ready" node_ready && return 0
	journal_of kubelet
	die "The machine has joined the cluster, but the node is not Ready after $ready_timeout s: $reason." \
		"The join need not be repeated. If it speaks of a network plugin, install one in the cluster; otherwise see: journalctl -u kubelet -n 50."
}

# node_ready asks with the node's own certificate for its own Node.
node_ready() {
	failed=0
	code=$(curl -q -sS --proto =https --cacert "$tmp/ca.crt" --cert "$root/var/lib/kubelet/pki/kubelet-client-current.pem" \
		--connect-timeout 5 --max-time 15 -o "$tmp/node" -w '%{http_code}' \
		"https://$server/api/v1/nodes/$node_name?pretty=true" 2>"$tmp/curl") || failed=$?
	if [ "$failed" -ne 0 ]; then
		reason=$(curl_said)
		return 1
	fi
	case $code in
	200) ;;
	404) reason='the kubelet has not registered yet' && return 1 ;;
	*) reason="the API server answered with status $code" && return 1 ;;
	esac
	ready=$(ready_condition "$tmp/node")
	[ "${ready%% *}" != True ] || return 0
	reason=${ready#* }
	reason=${reason:-the kubelet has not said how it is yet}
	return 1
}

# ready_condition FILE prints the status of the condition Ready and its message.
ready_condition() {
	awk '
		/"type": "Ready"/ { here = 1 }
		here && /"status":/ { split($0, f, "\""); status = f[4] }
		here && /"message":/ { sub(/^[^:]*: "/, ""); sub(/",?$/, ""); gsub(/\\"/, "`"); message = $0 }
		/}/ { here = 0 }
		END { print status, message }' "$1"
}

main "$@" </dev/null
exit
}
