#!/bin/sh
# Three gateways on a cluster of six nodes, on this machine, without containers:
#
#     sh deploy/cluster.sh start DIRECTORY      sh deploy/cluster.sh stop DIRECTORY
#
# SERVER and CLI name the programs (valkey-server and valkey-cli; redis-server and redis-cli do the same), NODES and
# GATEWAYS the ports. Every PAYONCE_ variable of the caller holds for the gateways, PAYONCE_UPSTREAM for example.
# Logs, process ids and the secret stay in DIRECTORY. What the nodes hold goes with them: a start begins an empty cache.
set -eu
SERVER=${SERVER:-valkey-server}
CLI=${CLI:-valkey-cli}
PAYONCE=${PAYONCE:-payonce}
NODES=${NODES:-7001 7002 7003 7004 7005 7006}
GATEWAYS=${GATEWAYS:-4141 4142 4143}

say() { echo "cluster.sh: $*" >&2; }
needs() { # a program, and what brings it
    command -v "$1" >/dev/null && return
    say "there is no $1: install $2, or name yours (SERVER=redis-server CLI=redis-cli, or PAYONCE=/path/to/payonce)"
    exit 2
}

answers() { "$CLI" -p "$1" ping | grep -q PONG; }
is_whole() { "$CLI" -p "$1" cluster info | grep -q cluster_state:ok; }
serves() { grep -q 'answers on' "gateway-$1.log"; }
lives() { # a process id
    case "$(ps -o stat= -p "$1")" in '' | Z*) return 1 ;; esac
}
runs() { # node-PORT or gateway-PORT: its process lives, and is not another one that has got its number since
    [ -e "$1.pid" ] && lives "$(cat "$1.pid")" && ps -ww -o args= -p "$(cat "$1.pid")" | grep -q "${1##*-}"
}
wait_until() { # a test that is to hold within 30 seconds for the port of node-PORT or gateway-PORT
    tries=0
    until "$1" "${2##*-}" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -ge 300 ] || ! lives "$(cat "$2.pid")"; then
            say "$2 does not run as it should ($1): $(tail -n 1 "$2.log")"
            exit 1
        fi
        sleep 0.1
    done
}

begun=""
begin() { # node-PORT or gateway-PORT, and its command; its id is noted at once, so that it can be stopped
    name=$1
    shift
    "$@" >"$name.log" 2>&1 &
    begun="$begun $!"
    echo $! >"$name.pid"
}
node() { # a node that knows nothing of a cluster that was here before
    mkdir -p "node-$1"
    cd "node-$1"
    rm -f nodes.conf dump.rdb
    exec "$SERVER" --port "$1" --bind 127.0.0.1 --cluster-enabled yes --cluster-node-timeout 5000 \
        --save '' --appendonly no --maxmemory 256mb --maxmemory-policy allkeys-lru
}
give_up() {
    # shellcheck disable=SC2086 - a list of process ids
    [ -z "$begun" ] || kill $begun 2>/dev/null || true
    wait
    rm -f node-*.pid gateway-*.pid
    say "not started, and nothing is left running; the logs are in $PWD"
}

start() {
    needs "$SERVER" "Valkey or Redis (Debian: apt-get install valkey-server, or redis-server)"
    needs "$CLI" "Valkey's or Redis's tools (Debian: apt-get install valkey-tools, or redis-tools)"
    needs "$PAYONCE" "Payonce (pip install 'payonce[gateway,redis]')"
    needs ps procps
    mkdir -p "$1"
    cd "$1"
    for file in node-*.pid gateway-*.pid; do
        ! runs "${file%.pid}" || { say "${file%.pid} runs already: first  sh deploy/cluster.sh stop $1"; exit 1; }
    done
    for port in $NODES; do
        ! answers "$port" 2>/dev/null || { say "port $port is another server's: name free ports in NODES"; exit 1; }
    done
    trap give_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    addresses=""
    for port in $NODES; do
        begin "node-$port" node "$port"
        addresses="$addresses 127.0.0.1:$port"
    done
    for port in $NODES; do wait_until answers "node-$port"; done
    # shellcheck disable=SC2086 - a list of addresses
    "$CLI" --cluster create $addresses --cluster-replicas 1 --cluster-yes
    for port in $NODES; do wait_until is_whole "node-$port"; done
    [ -e secret ] || (umask 077 && head -c 32 /dev/urandom >secret)
    PAYONCE_SECRET_FILE="$PWD/secret"
    PAYONCE_STORE="redis+cluster://$(echo $addresses | tr ' ' ',')"
    export PAYONCE_SECRET_FILE PAYONCE_STORE
    for port in $GATEWAYS; do begin "gateway-$port" "$PAYONCE" serve --port "$port"; done
    for port in $GATEWAYS; do wait_until serves "gateway-$port"; done
    trap - EXIT
    echo "gateways on $GATEWAYS, logs and process ids in $PWD"
}

stop() {
    cd "$1"
    stopped=""
    for file in gateway-*.pid node-*.pid; do
        if runs "${file%.pid}"; then
            kill "$(cat "$file")"
            stopped="$stopped ${file%.pid}"
        else
            rm -f "$file"
        fi
    done
    for name in $stopped; do
        tries=0
        while lives "$(cat "$name.pid")"; do
            tries=$((tries + 1))
            [ "$tries" -lt 600 ] || { say "$name has not ended within a minute: look into $PWD/$name.log"; exit 1; }
            sleep 0.1
        done
        rm "$name.pid"
    done
}

case "${1:-}:$#" in
start:2 | stop:2) "$1" "$2" ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
