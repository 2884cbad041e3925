package main

import (
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// nameTable is the type of istiod's DNS table. Its schema is published only inside Istio's own module, so it is
// described here by its field numbers.
const nameTable = "istio.networking.nds.v1.NameTable"

func nameTableDescriptor() (protoreflect.MessageDescriptor, error) {
	text := func(name string, n int32, repeated bool) *descriptorpb.FieldDescriptorProto {
		label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		if repeated {
			label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		}
		return &descriptorpb.FieldDescriptorProto{
			Name: &name, Number: &n, Label: &label,
			Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
		}
	}
	nested := func(f *descriptorpb.FieldDescriptorProto, typ string) *descriptorpb.FieldDescriptorProto {
		f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), new("."+nameTable+"."+typ)
		return f
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("nametable.proto"), Package: new("istio.networking.nds.v1"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:  new("NameTable"),
			Field: []*descriptorpb.FieldDescriptorProto{nested(text("table", 1, true), "TableEntry")},
			NestedType: []*descriptorpb.DescriptorProto{{
				Name: new("NameInfo"),
				Field: []*descriptorpb.FieldDescriptorProto{
					text("ips", 1, true), text("registry", 2, false), text("shortname", 3, false),
					text("namespace", 4, false), text("alt_hosts", 5, true),
				},
			}, {
				Name:    new("TableEntry"),
				Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
				Field:   []*descriptorpb.FieldDescriptorProto{text("key", 1, false), nested(text("value", 2, false), "NameInfo")},
			}},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return nil, err
	}
	return file.Messages().Get(0), nil
}
