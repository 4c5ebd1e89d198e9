// Writes a file with the real bbolt, as influxd does: `bolt PATH PAGESIZE` reads lines of JSON from standard
// input. `{"bucket": B, "key": K, "value": V}` puts, without `value` deletes, and without `key` creates the bucket.
// `{}` commits, and `{"hold": true}` commits and prints `held`. The file stays locked until the input ends.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

type line struct {
	Bucket string  `json:"bucket"`
	Key    string  `json:"key"`
	Value  *string `json:"value"`
	Hold   bool    `json:"hold"`
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	size, err := strconv.Atoi(os.Args[2])
	check(err)
	db, err := bolt.Open(os.Args[1], 0600, &bolt.Options{PageSize: size})
	check(err)
	tx, err := db.Begin(true)
	check(err)
	commit := func() {
		check(tx.Commit())
		tx, err = db.Begin(true)
		check(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var next line
		check(json.Unmarshal(lines.Bytes(), &next))
		switch {
		case next.Hold:
			commit()
			fmt.Println("held")
		case next.Bucket == "":
			commit()
		default:
			bucket, err := tx.CreateBucketIfNotExists([]byte(next.Bucket))
			check(err)
			if next.Key == "" {
				continue
			}
			if next.Value == nil {
				check(bucket.Delete([]byte(next.Key)))
			} else {
				check(bucket.Put([]byte(next.Key), []byte(*next.Value)))
			}
		}
	}
	check(lines.Err())
	check(tx.Commit())
	check(db.Close())
}
