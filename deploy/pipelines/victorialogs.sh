#!/bin/sh
# VictoriaLogs without another program in between: reads raytap's standard output.
#
#   raytap --config.file raytap.yaml | deploy/pipelines/victorialogs.sh
#
# For a trial, not for production: when VictoriaLogs stops, curl ends, then raytap
# ends, and the lines in the pipe between them are lost. A service manager must start
# both again. If each line counts, let raytap write a file, and follow it (vlagent.sh).
# Start VictoriaLogs with -insert.maxLineSizeBytes=2MiB: its default of 256 KiB is
# less than the longest record.
set -eu
url="${VICTORIALOGS:-http://127.0.0.1:9428}/insert/jsonline?_time_field=time&_msg_field=message&_stream_fields=ray_cluster,source"
exec curl -sS --fail-with-body -T - -X POST -H 'Content-Type: application/stream+json' "$url"
