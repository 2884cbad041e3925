// Package route answers which rule a request meets: first the virtual host by its
// authority, then the first matching entry in list order.
//
// A Table is built once from domains and virtual hosts and is read-only from
// then on; a VirtualHost may also be used alone, where its host was found by
// other means. Both are generic in what an entry leads to. The rules are those
// of Envoy's route tables (source/common/router/config_impl.cc). There is no
// I/O, and no knowledge of clusters or of any configuration format.
package route
