#!/bin/sh
# vlagent: follows raytap's file and sends it to VictoriaLogs. It stores what it could
# not send yet, and its offsets, in STATE.
#
# vlagent reads a renamed file again under its new name, so most lines come
# twice, with the same key; `uniq by (ray_cluster, session, submission_id, log,
# epoch, seq, event)` in a query shows each once. FILES=current follows the
# current file only: each line once, as long as no more than max_size comes within
# REFRESH. docs/delivery.md explains the choice.
set -eu
file=${RAYTAP_FILE:-/var/lib/raytap/raytap.jsonl}
set -- -fileCollector.glob="$file" \
	-fileCollector.streamFields=ray_cluster,source \
	-fileCollector.fileField= \
	-fileCollector.refreshInterval="${REFRESH:-1s}" \
	-tmpDataPath="${STATE:-/var/lib/vlagent}" \
	-remoteWrite.url="${VICTORIALOGS:-http://127.0.0.1:9428}/insert/native" \
	"$@"
[ "${FILES:-all}" = current ] || set -- -fileCollector.glob="$file.[0-9]*" -fileCollector.excludeGlob="$file.*.gz" "$@"
exec "${VLAGENT:-vlagent}" "$@"
