// Writes a point with the Go package influxdb1-client/v2.
package main

import (
	"log"
	"os"

	client "github.com/influxdata/influxdb1-client/v2"
)

func main() {
	url, username, password, database := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	connection, err := client.NewHTTPClient(client.HTTPConfig{Addr: url, Username: username, Password: password})
	if err != nil {
		log.Fatal(err)
	}
	points, err := client.NewBatchPoints(client.BatchPointsConfig{Database: database})
	if err != nil {
		log.Fatal(err)
	}
	point, err := client.NewPoint("cpu", nil, map[string]interface{}{"value": 1.0})
	if err != nil {
		log.Fatal(err)
	}
	points.AddPoint(point)
	if err := connection.Write(points); err != nil {
		log.Fatal(err)
	}
}
