package main

import (
	"cmp"
	"errors"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/cli"
)

// positionsFile returns the positions file of a daemon with these flags.
func (f *flags) positionsFile() (string, error) {
	c, err := loadConfig(f.configFile)
	if err != nil {
		return "", err
	}
	file, _ := c.PositionsFile()
	if file == "" {
		return "", errors.New("no positions file: neither XDG_STATE_HOME nor HOME is set; give FILE")
	}
	return file, nil
}

// readPositions returns the content of a positions file; cluster selects one, "" all.
func readPositions(file, cluster string) (cli.SavedPositions, error) {
	saved, err := checkpoint.Read(file)
	if err != nil {
		return cli.SavedPositions{}, err
	}
	out := cli.SavedPositions{File: file, Data: saved}
	if s := saved.Sink; s != nil {
		out.Sink, out.SinkNumber, out.SinkOffset = s.Path, s.Number, s.Offset
	}
	for id, c := range saved.Clusters {
		name := cmp.Or(c.Name, id)
		if cluster != "" && name != cluster && id != cluster {
			delete(saved.Clusters, id)
			continue
		}
		out.Excluded += len(c.BackfillSkipped)
		for _, l := range c.Logs {
			log := cli.SavedLog{
				Cluster: name, Session: l.Session, SubmissionID: l.ID, Status: l.Run.Status,
				Epoch: l.Epoch, Lines: l.Position.Lines, Bytes: l.Position.Content, Done: l.Done, PendingEvents: len(l.Pending),
			}
			if l.LastTime != 0 {
				log.LastLine = time.Unix(0, l.LastTime)
			}
			if l.UnlistedSince != nil {
				log.UnlistedSince = *l.UnlistedSince
			}
			out.Logs = append(out.Logs, log)
		}
		for _, f := range c.Files {
			for _, l := range f.Logs {
				log := cli.SavedLog{Cluster: name, Session: f.Session, SubmissionID: l.SubmissionID, Log: cmp.Or(l.Name, l.Key), Epoch: l.Epoch, Lines: l.Lines, Bytes: l.Content, Done: l.Ended}
				if l.LastTime != 0 {
					log.LastLine = time.Unix(0, l.LastTime)
				}
				out.Logs = append(out.Logs, log)
			}
		}
	}
	return out, nil
}
