"""Many pictures: prompt files, folders and sweeps, drawn so that nothing is lost and nothing is drawn twice."""
