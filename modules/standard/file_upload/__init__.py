"""standard.file_upload: a folder of temporary files that the housekeeper cleans by age."""
