package deploy

// Vector 0.50 and later, according to its configuration reference.
var vector = known(options{
	"data_dir": text,
	"sources": each{byKey{"type", map[string]shape{"file": known(options{
		"type": text, "include": each{text}, "exclude": each{text}, "read_from": oneOf{"beginning", "end"},
		"fingerprint":              options{"strategy": oneOf{"checksum", "device_and_inode"}, "ignored_header_bytes": number, "lines": number},
		"glob_minimum_cooldown_ms": number, "max_line_bytes": number,
	}, `data_dir encoding file_key host_key idle_timeout_secs ignore_checkpoints ignore_not_found ignore_older_secs
		internal_metrics line_delimiter max_read_bytes multiline offset_key oldest_first remove_after_secs rotate_wait_secs`)}}},
	"transforms": each{byKey{"type", map[string]shape{"remap": known(options{
		"type": text, "inputs": each{text}, "drop_on_error": truth, "drop_on_abort": truth, "source": text,
	}, "file files metric_tag_values reroute_dropped timezone")}}},
	"sinks": each{byKey{"type", map[string]shape{"loki": known(options{
		"type": text, "inputs": each{text}, "endpoint": text, "path": text,
		"encoding": known(options{"codec": oneOf{"text", "json", "logfmt", "raw_message"}}, "except_fields only_fields timestamp_format"),
		"labels":   each{text}, "structured_metadata": each{text},
		"out_of_order_action": oneOf{"accept", "drop", "rewrite_timestamp"},
		"acknowledgements":    options{"enabled": truth},
	}, `auth batch buffer compression healthcheck proxy remove_label_fields remove_structured_metadata_fields
		remove_timestamp request tenant_id tls`)}}},
}, "acknowledgements api log_schema timezone enrichment_tables")

// Fluent Bit 3.2 and later: the options of its plugins, and the common options of inputs,
// filters and outputs.
var fluentBit = options{
	"service": known(options{"flush": number, "storage.path": text, "storage.sync": oneOf{"normal", "full"}},
		`grace daemon log_level log_file http_server http_listen http_port hot_reload scheduler.cap scheduler.base
		storage.checksum storage.max_chunks_up storage.backlog.mem_limit storage.metrics`),
	"parsers": each{known(options{
		"name": text, "format": oneOf{"json", "regex", "ltsv", "logfmt"},
		"time_key": text, "time_format": text, "time_keep": truth,
	}, "regex time_offset time_strict types decode_field decode_field_as skip_empty_values time_system_timezone")},
	"pipeline": options{
		"inputs": each{byKey{"name", map[string]shape{"tail": known(options{
			"name": text, "tag": text, "path": text, "exclude_path": text, "parser": text, "db": text,
			"read_from_head": truth, "refresh_interval": number, "rotate_wait": number,
			"buffer_max_size": text, "skip_long_lines": truth, "storage.type": oneOf{"filesystem", "memory", "memrb"},
		}, `alias log_level mem_buf_limit threaded key read_newly_discovered_files_from_head watcher_interval
			path_key offset_key ignore_older buffer_chunk_size static_batch_size event_batch_size exit_on_eof
			skip_empty_lines inotify_watcher tag_regex db.sync db.locking db.journal_mode db.compare_filename
			multiline.parser`)}}},
		"filters": each{byKey{"name", map[string]shape{
			"grep":            known(options{"name": text, "match": text, "regex": text}, "alias match_regex exclude logical_op"),
			"record_modifier": known(options{"name": text, "match": text, "allowlist_key": each{text}}, "alias match_regex record remove_key uuid_key"),
		}}},
		"outputs": each{byKey{"name", map[string]shape{"loki": known(options{
			"name": text, "match": text, "host": text, "port": number, "uri": text,
			"label_keys": text, "structured_metadata": text, "remove_keys": text,
			"line_format": oneOf{"json", "key_value"}, "drop_single_key": oneOf{true, false, "raw"},
			"retry_limit": oneOf{"no_limits", "no_retries"},
		}, `alias match_regex log_level workers storage.total_limit_size tls tls.verify tenant_id tenant_id_key labels
			structured_metadata_map_keys auto_kubernetes_labels label_map_path http_user http_passwd buffer_size
			bearer_token header compress`)}}},
	},
}

// Promtail 3, the last version, according to its configuration reference.
var promtail = known(options{
	"server":    known(options{"disable": truth}, "http_listen_address http_listen_port grpc_listen_port log_level"),
	"positions": options{"filename": text, "sync_period": text, "ignore_invalid_yaml": truth},
	"clients": each{known(options{
		"url": text, "backoff_config": options{"min_period": text, "max_period": text, "max_retries": number},
	}, `headers tenant_id batchwait batchsize basic_auth oauth2 bearer_token bearer_token_file proxy_url tls_config
		drop_rate_limited_batches external_labels timeout`)},
	"scrape_configs": each{known(options{
		"job_name":       text,
		"static_configs": each{options{"targets": each{text}, "labels": each{text}}},
		"pipeline_stages": each{single{
			"json":                options{"expressions": each{names{}}, "source": text, "drop_malformed": truth},
			"timestamp":           known(options{"source": text, "format": text}, "fallback_formats location action_on_failure"),
			"labels":              each{names{}},
			"structured_metadata": each{names{}},
			"output":              options{"source": text},
			"labeldrop":           each{text},
		}},
	}, "decompression encoding relabel_configs")},
}, "global limits_config target_config options tracing")

// names is the name of an extracted value in Promtail. The default is the key itself.
type names struct{}

func (names) check(at string, v any, report func(string, ...any)) {
	if v != nil {
		text.check(at, v, report)
	}
}
