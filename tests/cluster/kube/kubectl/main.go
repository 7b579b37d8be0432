// kubectl in a binary of its own: the tests start it thousands of times, and the one with all of Kubernetes takes twice
// the time to start.
package main

import (
	"os"

	_ "flexvol.test/kube/kubectl/untranslated"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
}
