#!/bin/sh
# Three gateways on a cluster of six nodes, on this machine, without containers:
#
#     sh deploy/cluster.sh start DIRECTORY      sh deploy/cluster.sh stop DIRECTORY
#
# SERVER and CLI name the programs (valkey-server and valkey-cli; redis-server and redis-cli do the same), NODES and
# GATEWAYS the ports. Every PAYONCE_ variable of the caller holds for the gateways, PAYONCE_UPSTREAM for example.
set -eu
SERVER=${SERVER:-valkey-server}
CLI=${CLI:-valkey-cli}
PAYONCE=${PAYONCE:-payonce}
NODES=${NODES:-7001 7002 7003 7004 7005 7006}
GATEWAYS=${GATEWAYS:-4141 4142 4143}

wait_until() { # tries a command for 30 seconds
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { echo "$* did not come to hold; look into the logs"; exit 1; }
        sleep 0.1
    done
}
answers() { "$CLI" -p "$1" ping | grep -q PONG; }
is_whole() { "$CLI" -p "$1" cluster info | grep -q cluster_state:ok; }

start() {
    mkdir -p "$1"
    cd "$1"
    addresses=""
    for port in $NODES; do
        mkdir -p "node-$port"
        (cd "node-$port" && exec "$SERVER" --port "$port" --bind 127.0.0.1 --cluster-enabled yes --cluster-node-timeout 5000 \
            --save '' --appendonly no --maxmemory 256mb --maxmemory-policy allkeys-lru) >"node-$port.log" 2>&1 &
        echo $! >"node-$port.pid"
        addresses="$addresses 127.0.0.1:$port"
    done
    for port in $NODES; do wait_until answers "$port"; done
    # shellcheck disable=SC2086 - a list of addresses
    "$CLI" --cluster create $addresses --cluster-replicas 1 --cluster-yes
    for port in $NODES; do wait_until is_whole "$port"; done
    [ -e secret ] || (umask 077 && head -c 32 /dev/urandom >secret)
    store="redis+cluster://$(echo $addresses | tr ' ' ',')"
    for port in $GATEWAYS; do
        PAYONCE_SECRET_FILE="$PWD/secret" "$PAYONCE" serve --port "$port" --store "$store" >"gateway-$port.log" 2>&1 &
        echo $! >"gateway-$port.pid"
    done
    echo "gateways on $GATEWAYS, logs and process ids in $PWD"
}

stop() {
    for file in "$1"/gateway-*.pid "$1"/node-*.pid; do
        [ -e "$file" ] || continue
        kill "$(cat "$file")" 2>/dev/null || true
        rm "$file"
    done
}

case "${1:-}" in
start | stop) [ $# = 2 ] && "$1" "$2" ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
