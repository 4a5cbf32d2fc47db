package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// measureVlagent measures vlagent while it collects the corpus from a file and sends
// it, in its native format, to a server that discards it.
func (b *bench) measureVlagent() (cost, error) {
	dir, err := os.MkdirTemp(b.dir, "vlagent-")
	if err != nil {
		return cost{}, err
	}
	defer os.RemoveAll(dir)
	null, err := serve(b.self, "null")
	if err != nil {
		return cost{}, err
	}
	defer null.stop()
	listen, err := freeAddress()
	if err != nil {
		return cost{}, err
	}
	p, err := launch(nil, b.vlagent, "-fileCollector.glob="+b.corpus, "-remoteWrite.url="+null.url+"/insert/native",
		"-tmpDataPath="+dir, "-httpListenAddr="+listen, "-loggerLevel=ERROR")
	if err != nil {
		return cost{}, err
	}
	defer p.stop()
	err = await("vlagent has read everything", func() bool {
		time.Sleep(time.Second) // a scrape costs CPU, too
		return sample(fetch("http://"+listen+"/metrics"), "vl_rows_ingested_total") >= float64(b.lines)
	})
	if err != nil {
		return cost{}, err
	}
	var taken string
	err = await("vlagent has sent everything", func() bool {
		before := taken
		taken = fetch(null.url + "/bench/taken")
		time.Sleep(3 * time.Second)
		return taken == before
	})
	return cost{cpu: p.cpu(), peak: p.memory("VmHWM")}, err
}

// rsyslogConf reads the corpus and writes records with roughly the same keys as raytap.
const rsyslogConf = `
global(workDirectory=%[1]q maxMessageSize="64k")
module(load="imfile")
template(name="record" type="list" option.jsonf="on") {
	property(outname="time" name="timegenerated" dateFormat="rfc3339" format="jsonf")
	constant(outname="ray_cluster" value="bench" format="jsonf")
	constant(outname="session" value="session_2026-11-24_12-00-00_000000_1" format="jsonf")
	constant(outname="submission_id" value="raysubmit_0000000000000000" format="jsonf")
	constant(outname="job_id" value="02000000" format="jsonf")
	constant(outname="job_name" value="train" format="jsonf")
	constant(outname="source" value="driver" format="jsonf")
	constant(outname="level" value="INFO" format="jsonf")
	property(outname="message" name="msg" format="jsonf")
}
ruleset(name="ship") { action(type="omfile" file=%[2]q template="record") }
input(type="imfile" file=%[3]q tag="ray" ruleset="ship")
`

// measureRsyslog measures rsyslog while it reads the corpus from a file and writes
// records.
func (b *bench) measureRsyslog() (cost, error) {
	dir, err := os.MkdirTemp(b.dir, "rsyslog-")
	if err != nil {
		return cost{}, err
	}
	defer os.RemoveAll(dir)
	conf, out := filepath.Join(dir, "rsyslog.conf"), filepath.Join(dir, "out.jsonl")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf(rsyslogConf, dir, out, b.corpus)), 0o600); err != nil {
		return cost{}, err
	}
	p, err := launch(nil, b.rsyslogd, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	if err != nil {
		return cost{}, err
	}
	defer p.stop()
	last, still := int64(-1), 0
	err = await("rsyslog has written everything", func() bool {
		time.Sleep(500 * time.Millisecond)
		info, err := os.Stat(out)
		if err != nil || info.Size() != last {
			still = 0
			if err == nil {
				last = info.Size()
			}
			return false
		}
		still++
		return still >= 6 && last > int64(b.lines)*lineSize
	})
	return cost{cpu: p.cpu(), peak: p.memory("VmHWM")}, err
}
