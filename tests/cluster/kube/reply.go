package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/kubernetes/pkg/volume/flexvolume"
)

// A driver's combined output and exit status, as kubelet gets them.
type driverRun struct {
	Callout string `json:"callout"`
	Output  []byte `json:"output"` // base64
	Exit    int    `json:"exit"`
}

// What kubelet makes of it.
type driverReply struct {
	Outcome      string                         `json:"outcome"` // success, not supported, failure or panic
	Message      string                         `json:"message"`
	Device       string                         `json:"device"`
	VolumeName   string                         `json:"volumeName"`
	Attached     bool                           `json:"attached"`
	NewSize      int64                          `json:"volumeNewSize"`
	Capabilities *flexvolume.DriverCapabilities `json:"capabilities"`
}

// readReplies judges a JSON array of driverRun by the rules of flexvolume's Run and handleCmdResponse, which are not
// exported; the types, and so the parsing, are kubelet's own.
func readReplies(in io.Reader, out io.Writer) error {
	var runs []driverRun
	if err := json.NewDecoder(in).Decode(&runs); err != nil {
		return err
	}
	replies := make([]driverReply, len(runs))
	for i, run := range runs {
		replies[i] = readReply(run)
	}
	return json.NewEncoder(out).Encode(replies)
}

func readReply(run driverRun) driverReply {
	status := flexvolume.DriverStatus{Capabilities: &flexvolume.DriverCapabilities{
		Attach: true, SELinuxRelabel: true, SupportsMetrics: false, FSGroup: true, RequiresFSResize: true}}
	if err := json.Unmarshal(run.Output, &status); err != nil {
		return driverReply{Outcome: "failure", Message: err.Error()}
	}
	switch {
	case status.Status == flexvolume.StatusNotSupported:
		return driverReply{Outcome: "not supported", Message: status.Status}
	case status.Status != flexvolume.StatusSuccess:
		message := fmt.Sprintf("%s command failed, status: %s, reason: %s", run.Callout, status.Status, status.Message)
		return driverReply{Outcome: "failure", Message: message}
	case run.Exit != 0:
		return driverReply{Outcome: "failure", Message: fmt.Sprintf("exit status %d", run.Exit)}
	case status.Capabilities == nil && run.Callout == "init": // the one whose capabilities kubelet follows
		return driverReply{Outcome: "panic"}
	}
	return driverReply{"success", status.Message, status.DevicePath, status.VolumeName, status.Attached,
		status.ActualVolumeSize, status.Capabilities}
}

func flexvolumeReply() {
	if err := readReplies(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
