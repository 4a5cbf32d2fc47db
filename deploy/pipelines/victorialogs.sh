#!/bin/sh
# VictoriaLogs without a program between: raytap's standard output in, as JSON
# lines.
#
#   raytap --config.file raytap.yaml | deploy/pipelines/victorialogs.sh
#
# A trial's way, not production's: when VictoriaLogs goes away curl ends, then
# raytap ends, and the lines in the pipe between them are lost. A service manager
# has to start both again. Where each line counts let raytap write a file, and
# follow it (vlagent.sh).
# Start VictoriaLogs with -insert.maxLineSizeBytes=2MiB: its default of 256 KiB is
# less than the longest record.
set -eu
url="${VICTORIALOGS:-http://127.0.0.1:9428}/insert/jsonline?_time_field=time&_msg_field=message&_stream_fields=ray_cluster,source"
exec curl -sS --fail-with-body -T - -X POST -H 'Content-Type: application/stream+json' "$url"
