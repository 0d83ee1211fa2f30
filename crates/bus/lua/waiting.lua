-- How many messages wait.
return {waiting()}
