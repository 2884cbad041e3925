package accesslog

// OperatorFormats returns a valid format for each operator of the table.
func OperatorFormats() []string {
	arguments := map[string]string{"COMMON_DURATION": "DS_RX_BEG:DS_TX_END:ms"}
	formats := make([]string, 0, len(operators))
	for name, s := range operators {
		arg := arguments[name]
		if arg == "" && s.arg == argRequired {
			arg = "x-name"
		}
		if arg != "" {
			formats = append(formats, "%"+name+"("+arg+")%")
		} else {
			formats = append(formats, "%"+name+"%")
		}
	}
	return formats
}
