-- What time Redis has, in ms.
return {now()}
